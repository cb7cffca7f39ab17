//! What the shard of sessions and the shards of messages tell each other, through the outbox of each pair of shards.

use bytes::Bytes;
use freshet_storage_contract::{Position, SessionEpoch};

use super::effects::Charged;

/// What a note costs beside its bytes, and each filter of one.
const OVERHEAD_BYTES: u64 = 64;

/// From one shard to another about sessions. Taken also while publications are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// To a shard of messages: a session has the filter, as of the request at `ensured`.
    Confirm { topic_filter: Bytes, ensured: Position },
    /// To a shard of messages: no session has the filter any more, as of the request at `ensured`.
    Drop { topic_filter: Bytes, ensured: Position },
    /// To a shard of messages: up to these positions no session needs anything of these filters.
    Trim { filters: Vec<(Bytes, Position)> },
    /// To the shard of a session: QoS 2 publications of this generation are kept here.
    HasPackets { client_id: Bytes, generation: SessionEpoch },
    /// To a shard of messages: the generation has ended.
    ForgetPackets { client_id: Bytes, generation: SessionEpoch },
    /// To a shard of messages: a session has taken a message of a shared subscription for itself.
    Keep { group: Bytes, position: Position },
    /// To a shard of messages: the session has done with it.
    ReleaseKept { position: Position },
}

impl Note {
    /// What a note is charged with that names one thing.
    pub(super) fn cost_of(name: &[u8]) -> u64 {
        name.len() as u64 + OVERHEAD_BYTES
    }
}

impl Charged for Note {
    fn charged_bytes(&self) -> u64 {
        match self {
            Self::Confirm { topic_filter: name, .. }
            | Self::Drop { topic_filter: name, .. }
            | Self::HasPackets { client_id: name, .. }
            | Self::ForgetPackets { client_id: name, .. }
            | Self::Keep { group: name, .. } => Self::cost_of(name),
            Self::Trim { filters } => OVERHEAD_BYTES + filters.iter().map(|(f, _)| Self::cost_of(f)).sum::<u64>(),
            Self::ReleaseKept { .. } => OVERHEAD_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_charged_for_what_it_names() {
        let (name, position) = (Bytes::from_static(b"four"), Position(1));
        let generation = SessionEpoch::default();
        let named = [
            Note::Confirm {
                topic_filter: name.clone(),
                ensured: position,
            },
            Note::Drop {
                topic_filter: name.clone(),
                ensured: position,
            },
            Note::HasPackets {
                client_id: name.clone(),
                generation,
            },
            Note::ForgetPackets {
                client_id: name.clone(),
                generation,
            },
            Note::Keep {
                group: name.clone(),
                position,
            },
        ];
        for note in named {
            assert_eq!(note.charged_bytes(), 4 + 64, "{note:?}");
        }
        let filters = vec![(name, position); 2];
        assert_eq!(Note::Trim { filters }.charged_bytes(), 64 + 2 * (4 + 64));
        assert_eq!(Note::ReleaseKept { position }.charged_bytes(), 64);
    }
}
