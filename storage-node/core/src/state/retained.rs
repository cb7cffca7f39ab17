//! Retained messages of a shard, in order of their topic names.
//!
//! Changes by entries of the log; read by the leader in chunks ([`RetainedSet::read`]). A read looks at keys that can
//! match: behind one that does not, it seeks the next that could ([`pattern`]).

mod kept;
mod pattern;
mod rows;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use freshet_storage_contract::{Message, Position, RetainedMessage};

use self::kept::Kept;
use self::pattern::{Pattern, Verdict};
use super::rows::Changes;
use crate::planted::planted;
use crate::sys::SERVER_TOPICS;
use crate::usage::RetainedUsage;

/// Topic names that one read looks at.
const KEYS_PER_READ: usize = 4_096;
/// Messages that one read returns.
const MESSAGES_PER_READ: usize = 1_024;

/// The retained messages of a shard.
#[derive(Debug, Default)]
pub(crate) struct RetainedSet {
    by_topic: BTreeSet<Kept>,
    by_expiry: BTreeSet<(u64, Bytes)>,
    usage: RetainedUsage,
    changes: Changes<Bytes>,
}

/// A retained message as a row has it.
#[derive(Debug)]
struct Retained {
    message: Message,
    position: Position,
    /// Log time, ms.
    expires_ms: Option<u64>,
}

/// Where a read ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// There is no more.
    Done,
    /// There may be more behind this topic name.
    Behind(Bytes),
}

impl RetainedSet {
    pub(crate) fn usage(&self) -> RetainedUsage {
        self.usage
    }

    /// What the message of a topic uses; all zero when there is none.
    pub(crate) fn usage_of(&self, topic_name: &[u8]) -> RetainedUsage {
        self.by_topic
            .get(topic_name)
            .map_or(RetainedUsage::default(), Kept::usage)
    }

    /// What of a message counts towards the user's limits: what the server says itself does not.
    pub(crate) fn usage_of_message(message: &Message) -> RetainedUsage {
        Self::usage_of_bytes(&message.topic_name, message.charged_bytes())
    }

    fn usage_of_bytes(topic_name: &[u8], charged_bytes: usize) -> RetainedUsage {
        if topic_name.starts_with(SERVER_TOPICS) {
            return RetainedUsage::default();
        }
        RetainedUsage {
            messages: 1,
            bytes: charged_bytes as u64,
        }
    }

    /// Stores a message in place of the topic's former one; an empty payload deletes it (MQTT 5.0, 3.3.1.3).
    pub(super) fn put(&mut self, message: &Message, position: Position, log_time_ms: u64) {
        if !(planted!(RetainedNeverCleared) && message.payload.is_empty()) {
            self.remove(&message.topic_name);
        }
        if message.payload.is_empty() {
            return;
        }
        let expires_ms = message
            .message_expiry_interval_s
            .map(|s| log_time_ms.saturating_add(u64::from(s).saturating_mul(1_000)));
        if self.changes.are_tracked() {
            self.changes.add(Bytes::copy_from_slice(&message.topic_name));
        }
        self.insert(Kept::new(message, position, expires_ms));
    }

    /// Takes a message in whose topic has none.
    fn insert(&mut self, kept: Kept) {
        if let Some(expires_ms) = kept.expires_ms {
            let topic_name = Bytes::copy_from_slice(kept.topic_name());
            self.by_expiry.insert((expires_ms, topic_name));
        }
        self.usage.exchange(RetainedUsage::default(), kept.usage());
        self.by_topic.insert(kept);
    }

    fn remove(&mut self, topic_name: &Bytes) {
        if let Some(former) = self.by_topic.take(&**topic_name) {
            if self.changes.are_tracked() {
                self.changes.remove(Bytes::copy_from_slice(topic_name));
            }
            self.usage.exchange(former.usage(), RetainedUsage::default());
            if let Some(expires_ms) = former.expires_ms {
                self.by_expiry.remove(&(expires_ms, topic_name.clone()));
            }
        }
    }

    /// Removes up to `limit` messages whose interval has passed; returns how many.
    pub(super) fn expire(&mut self, log_time_ms: u64, limit: usize) -> usize {
        let mut count = 0;
        while count < limit
            && let Some((expires_ms, topic_name)) = self.by_expiry.first().cloned()
            && expires_ms <= log_time_ms
        {
            self.remove(&topic_name);
            count += 1;
        }
        count
    }

    /// When the first message expires, ms of log time.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.by_expiry.first().map(|(expires_ms, _)| *expires_ms)
    }

    /// Reads messages that match `topic_filter`, in order of topic names, behind `after`, stored at `up_to` or before:
    /// at most about `max_bytes` of them. A long search ends early, perhaps with no message.
    pub(crate) fn read(
        &self,
        topic_filter: &[u8],
        after: Option<&Bytes>,
        up_to: Position,
        max_bytes: usize,
        log_time_ms: u64,
    ) -> (Vec<RetainedMessage>, ReadEnd) {
        let mut messages = Vec::new();
        let Some(pattern) = Pattern::new(topic_filter) else {
            return (messages, ReadEnd::Done);
        };
        let prefix = pattern.literal_prefix();
        let mut from = match after {
            Some(after) if &**after >= prefix => Bound::Excluded(Cow::Borrowed(&**after)),
            _ => Bound::Included(Cow::Borrowed(prefix)),
        };
        // The last topic name that was looked at: where the next read goes on.
        let mut last = after.map(|after| &**after).unwrap_or_default();
        let mut bytes = 0_usize;
        for _ in 0..KEYS_PER_READ {
            let behind: (Bound<&[u8]>, Bound<&[u8]>) = (from.as_ref().map(|key| &**key), Bound::Unbounded);
            let Some(kept) = self.by_topic.range::<[u8], _>(behind).next() else {
                return (messages, ReadEnd::Done);
            };
            let topic_name = kept.topic_name();
            from = match pattern.judge(topic_name) {
                Verdict::Matches => {
                    let expired = kept.expires_ms.is_some_and(|e| e <= log_time_ms);
                    if !expired && kept.position <= up_to {
                        let size = kept.charged_bytes();
                        if !messages.is_empty() && bytes.saturating_add(size) > max_bytes {
                            break;
                        }
                        bytes = bytes.saturating_add(size);
                        messages.push(kept.read(log_time_ms));
                    }
                    Bound::Excluded(Cow::Borrowed(topic_name))
                }
                Verdict::NextKey => Bound::Excluded(Cow::Borrowed(topic_name)),
                Verdict::SeekTo(key) => Bound::Included(Cow::Owned(key)),
                Verdict::NoMore => return (messages, ReadEnd::Done),
            };
            last = topic_name;
            if messages.len() >= MESSAGES_PER_READ {
                break;
            }
        }
        (messages, ReadEnd::Behind(Bytes::copy_from_slice(last)))
    }

    #[cfg(test)]
    pub(crate) fn position_of(&self, topic_name: &[u8]) -> Option<Position> {
        self.by_topic.get(topic_name).map(|r| r.position)
    }
}

impl Kept {
    /// The message with what remains of its expiry interval, begun seconds counted in full.
    fn read(&self, log_time_ms: u64) -> RetainedMessage {
        let mut message = self.message();
        message.message_expiry_interval_s = self.expires_ms.map(|expires_ms| {
            let remaining_s = expires_ms.saturating_sub(log_time_ms).div_ceil(1_000);
            u32::try_from(remaining_s).unwrap_or(u32::MAX)
        });
        RetainedMessage { message }
    }
}

#[cfg(test)]
mod tests;
