//! What clients do, read from bytes.

use freshet_mqtt::ProtocolVersion;

use super::packets;

/// Connections that a script has at once.
pub const CLIENTS: usize = 4;

/// One thing that a script does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A client sends bytes. One without connection opens one first, if that is how a connection may begin.
    Say {
        /// Which one, below [`CLIENTS`].
        client: usize,
        /// What it sends.
        bytes: Vec<u8>,
        /// A connection may begin with it: with CONNECT, with nothing, or with bytes that are no packet.
        begins: bool,
    },
    /// A client reads so much of what has come for it, and nothing more until it is told to.
    Read {
        /// Which one.
        client: usize,
        /// How much.
        bytes: usize,
    },
    /// A client goes without a word.
    HangUp {
        /// Which one.
        client: usize,
        /// By a reset; else by the end of its stream.
        reset: bool,
    },
    /// Time passes.
    Pass {
        /// Milliseconds.
        ms: u64,
    },
    /// Storage goes away, or comes back.
    Storage {
        /// Whether it is there from now on.
        is_there: bool,
    },
}

/// What clients do, one deed after the other.
#[derive(Debug)]
pub struct Script<'a> {
    bytes: Choices<'a>,
    versions: [ProtocolVersion; CLIENTS],
}

/// Bytes as choices. Behind the last one every choice is 0.
#[derive(Debug)]
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// A number below `end`, which is at least 1.
    pub(super) fn below(&mut self, end: u8) -> usize {
        usize::from(self.byte() % end.max(1))
    }

    /// True for one byte of four.
    pub(super) fn seldom(&mut self) -> bool {
        self.byte() < 64
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let end = u8::try_from(from.len()).unwrap_or(u8::MAX);
        from.get(self.below(end)).copied()
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

impl<'a> Script<'a> {
    /// The script that the bytes spell. Any bytes do.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: Choices(bytes),
            versions: [ProtocolVersion::V5; CLIENTS],
        }
    }

    /// A packet of a client, as it should be or spoiled.
    fn packet(&mut self, kind: u8, client: usize) -> Vec<u8> {
        let choices = &mut self.bytes;
        if (1..=6).contains(&kind) {
            let versions = [ProtocolVersion::V5, ProtocolVersion::V311, ProtocolVersion::V31];
            self.versions[client] = choices.pick(&versions).unwrap_or(ProtocolVersion::V5);
        }
        let version = self.versions[client];
        let mut bytes = Vec::new();
        match kind {
            0 => {}
            1..=6 => packets::connect(choices, version, &mut bytes),
            7..=14 => packets::subscribe(choices, version, &mut bytes),
            15..=17 => packets::unsubscribe(choices, version, &mut bytes),
            18..=33 => packets::publish(choices, version, &mut bytes),
            34..=43 => packets::acknowledge(choices, version, &mut bytes),
            44 => packets::ping(&mut bytes),
            45..=46 => packets::disconnect(choices, version, &mut bytes),
            _ => packets::auth(choices, version, &mut bytes),
        }
        spoil(choices, &mut bytes);
        bytes
    }
}

/// Makes one packet of seven one that is not right any more.
fn spoil(choices: &mut Choices<'_>, bytes: &mut Vec<u8>) {
    let length = bytes.len();
    match choices.byte() {
        0..20 => {
            let at = usize::from(choices.byte()).min(length.saturating_sub(1));
            let change = choices.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= change;
            }
        }
        20..28 => bytes.truncate(length.saturating_sub(1 + choices.below(16))),
        28..36 => bytes.extend_from_within(..),
        _ => {}
    }
}

impl Iterator for Script<'_> {
    type Item = Deed;

    fn next(&mut self) -> Option<Deed> {
        let first = self.bytes.next()?;
        let client = usize::from(first >> 6);
        let choices = &mut self.bytes;
        Some(match first & 0x3F {
            48..=51 => Deed::HangUp {
                client,
                reset: choices.byte() & 1 == 1,
            },
            52..=55 => Deed::Read {
                client,
                bytes: choices.below(255) * 40,
            },
            56..=58 => Deed::Pass {
                ms: u64::from(choices.byte()) * 40,
            },
            59 => Deed::Storage { is_there: false },
            60..=61 => Deed::Storage { is_there: true },
            62..=63 => {
                let count = usize::from(choices.byte());
                let bytes = choices.take(count).to_vec();
                let begins = true;
                Deed::Say { client, bytes, begins }
            }
            kind => Deed::Say {
                client,
                bytes: self.packet(kind, client),
                // And some SUBSCRIBE of who has not connected.
                begins: kind <= 7,
            },
        })
    }
}
