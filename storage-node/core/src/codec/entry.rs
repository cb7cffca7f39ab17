//! Bytes of an entry of the log.

use super::{Code, DecodeError, Reader, code_fields, code_kinds};
use crate::log::{Command, ENTRY_VERSION, Entry, KnownBy, LastingNumber, Publish};
use crate::state::{Matched, Note, OnReturn, QueueId, WillRow};

impl Code for Entry {
    fn write(&self, out: &mut Vec<u8>) {
        self.version.write(out);
        self.log_time_ms.write(out);
        self.command.write(out);
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let version = u16::read(from)?;
        if version > ENTRY_VERSION {
            return Err(DecodeError::Version {
                found: version,
                highest: ENTRY_VERSION,
            });
        }
        Ok(Self {
            version,
            log_time_ms: Code::read(from)?,
            command: Code::read(from)?,
        })
    }
}

code_kinds!(OnReturn, "end of a waiting will" { 0 => Drop, 1 => DropUnlessCleanStart });
code_fields! {
    QueueId { slot, number }
    Matched { queues, version }
    WillRow { message, epoch, due_ms, on_return }
    LastingNumber { origin, number, oldest }
    Publish { message, known_by, matched, limits }
}

code_kinds!(KnownBy, "what a publication is known by" {
    0 => Nothing,
    1 => Exchange { of, session_shard },
    2 => Number { number },
});

code_kinds!(Note, "note" {
    0 => Confirm { topic_filter, ensured },
    1 => Drop { topic_filter, ensured },
    2 => Trim { filters },
    3 => HasPackets { client_id, generation },
    4 => ForgetPackets { client_id, generation },
    5 => Keep { group, position },
    6 => ReleaseKept { position },
});

/// Kinds that hold one value without a name.
macro_rules! command_kinds {
    ($publish:literal; $($number:literal => $kind:ident { $($field:ident),* $(,)? }),* $(,)?; $suspend:literal) => {
        impl Code for Command {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    Self::Publish(publish) => {
                        out.push($publish);
                        publish.write(out);
                    }
                    Self::SuspendSessions => out.push($suspend),
                    $(Self::$kind { $($field),* } => {
                        out.push($number);
                        $($field.write(out);)*
                    })*
                }
            }

            fn read(from: &mut Reader) -> Result<Self, DecodeError> {
                Ok(match from.byte()? {
                    $publish => Self::Publish(Code::read(from)?),
                    $suspend => Self::SuspendSessions,
                    $($number => Self::$kind { $($field: Code::read(from)?),* },)*
                    found => return Err(DecodeError::Kind { of: "command", found }),
                })
            }
        }
    };
}

command_kinds! {
    1;
    2 => ExpireRetained { limit },
    3 => HoldWill { client_id, row },
    4 => DropWill { client_id },
    5 => FireWill { client_id, target },
    6 => SendWill { message, target },
    7 => ReceiveEffect { from, number, publish },
    8 => ConfirmEffects { target, number },
    9 => ReceiveNotes { from, first, notes },
    10 => ConfirmNotes { target, number },
    11 => AttachSession { client_id, epoch, clean_start, session_expiry_interval_s },
    12 => RegisterSession { client_id, epoch, session_expiry_interval_s, session },
    13 => DetachSession { client_id, epoch, session_expiry_interval_s },
    14 => UpdateSession { client_id, epoch, changes },
    15 => ExpireSessions { limit },
    16 => SendTrims { limit },
    17 => EnsureDurable { session_shard, topic_filter },
    18 => ExpireFilters { limit },
    19 => ExpireQueued { limit },
    20 => DropOldQueued { age_ms, limit },
    21 => Release { of },
    22 => ExpirePackets { limit },
    23 => ShareGroup { group, is_live },
    24 => SettleShared { group, positions },
    25 => BeginTerm { term },
    27 => DropOutdated { age_ms, limit },
    28 => DropThrough { through },
    29 => DropUnneeded { limit },
    30 => BeginRouting { term },
    31 => PassBy { proxy, is_passed };
    26
}
