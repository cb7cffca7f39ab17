//! Topic names and topic filters (MQTT 5.0, 4.7 and 4.8.2): validation, levels, matching, shared subscriptions.
//!
//! Called by the decoders and by whatever routes messages. Leaves out limits on length and levels, which are the
//! server's own (see [`TopicName::level_count`]), and any index of filters.

mod filter;
mod name;
mod relation;
mod shared;

pub use filter::{TopicFilter, topic_matches};
pub use name::TopicName;
pub use relation::{filter_covers, filters_overlap};
pub use shared::SharedFilter;

use std::fmt;

/// What is wrong with a topic name or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicError {
    /// It has no character (`[MQTT-4.7.3-1]`).
    Empty,
    /// It contains U+0000 (`[MQTT-4.7.3-2]`).
    NulCharacter,
    /// It is longer than 65,535 bytes (`[MQTT-4.7.3-3]`).
    TooLong,
    /// A topic name contains `#` or `+` (`[MQTT-3.3.2-2]`).
    Wildcard,
    /// `#` is not the last level, or not a level of its own (`[MQTT-4.7.1-1]`).
    MultiLevelWildcard,
    /// `+` is not a level of its own (`[MQTT-4.7.1-2]`).
    SingleLevelWildcard,
    /// The share name is empty or contains a wildcard (`[MQTT-4.8.2-1]`, `[MQTT-4.8.2-2]`).
    ShareName,
    /// No topic filter follows the share name (`[MQTT-4.8.2-2]`).
    SharedFilterMissing,
}

impl TopicError {
    pub(crate) const fn statement_for_name(self) -> &'static str {
        match self {
            Self::Wildcard => "MQTT-3.3.2-2",
            _ => self.statement_for_filter(),
        }
    }

    pub(crate) const fn statement_for_filter(self) -> &'static str {
        match self {
            Self::Empty => "MQTT-4.7.3-1",
            Self::NulCharacter => "MQTT-4.7.3-2",
            Self::TooLong => "MQTT-4.7.3-3",
            Self::Wildcard => "MQTT-4.7.0-1",
            Self::MultiLevelWildcard => "MQTT-4.7.1-1",
            Self::SingleLevelWildcard => "MQTT-4.7.1-2",
            Self::ShareName => "MQTT-4.8.2-1",
            Self::SharedFilterMissing => "MQTT-4.8.2-2",
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Empty => "a topic name or filter is empty",
            Self::NulCharacter => "a topic name or filter contains U+0000",
            Self::TooLong => "a topic name or filter is longer than 65,535 bytes",
            Self::Wildcard => "a topic name contains a wildcard character",
            Self::MultiLevelWildcard => "the multi-level wildcard is not the last level of its own",
            Self::SingleLevelWildcard => "the single-level wildcard does not fill its level",
            Self::ShareName => "the share name is empty or contains a wildcard character",
            Self::SharedFilterMissing => "no topic filter follows the share name",
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message(), self.statement_for_name())
    }
}

impl std::error::Error for TopicError {}

/// How many levels `topic` has: one more than it has slashes.
pub(crate) fn level_count(topic: &str) -> usize {
    memchr::memchr_iter(b'/', topic.as_bytes()).count() + 1
}

/// What names and filters have in common (MQTT 5.0, 4.7.3).
pub(crate) fn check_common(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong);
    }
    Ok(())
}
