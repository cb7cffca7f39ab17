//! Names and numbers of the contract, each a type of its own so that one is never taken for another.

use std::fmt;

/// UID of the `MqttCluster` that a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterUid(pub String);

/// One life of a proxy process: 128 random bits, drawn at its start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncarnationId(pub u128);

impl fmt::Debug for IncarnationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for IncarnationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A part of the key space, 0 to `shards - 1`.
    ShardId(u16)
);
number!(
    /// One leadership of a shard. Grows with every leader; a storage node that lost its memory starts a higher one.
    Term(u64)
);
number!(
    /// A proxy's own name for a topic filter, the same at every shard. Never used again within an incarnation.
    FilterId(u32)
);
number!(
    /// Counts the interest deltas of one incarnation at one shard, from 1, without gaps.
    InterestVersion(u64)
);
number!(
    /// Counts the publications of one incarnation at one shard, from 1, without gaps.
    PublishSeq(u64)
);
number!(
    /// Counts the deliveries of one shard to one incarnation within a term, from 1, without gaps.
    DeliverySeq(u64)
);
number!(
    /// Chosen by the proxy, unique within an incarnation; each request is answered exactly once.
    RequestId(u64)
);
number!(
    /// Keyed hash of a publisher's client id. Equal for equal ids of one cluster: all that No Local needs.
    PublisherId(u64)
);
number!(
    /// Place of a message in a shard's order of publications, the same on every replica.
    Position(u64)
);

/// Orders the lives of a session: a later attach has the greater epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SessionEpoch {
    /// Term of the leader that granted it.
    pub term: Term,
    /// Count of grants within the term.
    pub counter: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_told_by_all_of_its_bits() {
        let incarnation = IncarnationId(0xab);
        let expected = "000000000000000000000000000000ab";
        assert_eq!(
            (incarnation.to_string(), format!("{incarnation:?}")),
            (expected.to_owned(), expected.to_owned())
        );
    }

    #[test]
    fn a_number_is_told_as_it_is() {
        assert_eq!(
            (ShardId(7).to_string(), format!("{:>3}", Term(7))),
            ("7".to_owned(), "  7".to_owned())
        );
    }
}
