//! One retained message as it lies in memory: all its bytes in one piece, since there may be millions.

use std::borrow::Borrow;
use std::cmp::Ordering;

use bytes::Bytes;
use freshet_storage_contract::{Message, Position, PublisherId, QoS};

use super::{Retained, RetainedSet};
use crate::usage::RetainedUsage;

/// A retained message, found and ordered by its topic name.
#[derive(Debug)]
pub(super) struct Kept {
    /// Topic name, payload and properties, one behind the other.
    bytes: Box<[u8]>,
    topic_name_bytes: u32,
    payload_bytes: u32,
    publisher: PublisherId,
    message_expiry_interval_s: Option<u32>,
    qos: QoS,
    retain: bool,
    pub(super) position: Position,
    /// Log time, ms.
    pub(super) expires_ms: Option<u64>,
}

impl Kept {
    pub(super) fn new(message: &Message, position: Position, expires_ms: Option<u64>) -> Self {
        let parts: [&[u8]; 3] = [&message.topic_name, &message.payload, &message.forwarded_properties];
        // Packets are shorter.
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        Self {
            bytes: parts.concat().into(),
            topic_name_bytes: length(parts[0]),
            payload_bytes: length(parts[1]),
            publisher: message.publisher,
            message_expiry_interval_s: message.message_expiry_interval_s,
            qos: message.qos,
            retain: message.retain,
            position,
            expires_ms,
        }
    }

    pub(super) fn topic_name(&self) -> &[u8] {
        self.bytes.get(..self.topic_name_bytes as usize).unwrap_or_default()
    }

    pub(super) fn usage(&self) -> RetainedUsage {
        RetainedSet::usage_of_bytes(self.topic_name(), self.charged_bytes())
    }

    pub(super) fn charged_bytes(&self) -> usize {
        Message::charged_for(self.bytes.len())
    }

    /// A copy of the message.
    pub(super) fn message(&self) -> Message {
        let mut rest = Bytes::copy_from_slice(&self.bytes);
        let mut take = |bytes: u32| rest.split_to(rest.len().min(bytes as usize));
        let (topic_name, payload) = (take(self.topic_name_bytes), take(self.payload_bytes));
        Message {
            topic_name,
            payload,
            forwarded_properties: rest,
            qos: self.qos,
            retain: self.retain,
            publisher: self.publisher,
            message_expiry_interval_s: self.message_expiry_interval_s,
            exactly_once: None,
        }
    }

    /// The same as a row has it.
    pub(super) fn retained(&self) -> Retained {
        Retained {
            message: self.message(),
            position: self.position,
            expires_ms: self.expires_ms,
        }
    }
}

impl Borrow<[u8]> for Kept {
    fn borrow(&self) -> &[u8] {
        self.topic_name()
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.topic_name() == other.topic_name()
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        self.topic_name().cmp(other.topic_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::message;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let mut message = message("a/b", "payload");
        message.retain = true;
        message.forwarded_properties = Bytes::from_static(b"\x01\x01");
        message.message_expiry_interval_s = Some(7);
        let kept = Kept::new(&message, Position(3), Some(9));
        assert_eq!(kept.topic_name(), b"a/b");
        assert_eq!(kept.charged_bytes(), message.charged_bytes());
        assert_eq!(kept.usage(), RetainedSet::usage_of_message(&message));
        assert_eq!(kept.message(), message);
    }

    #[test]
    fn a_message_takes_little_beside_its_bytes() {
        // A million of 64 bytes are to fit into 300 MB. Nodes of the set may be half full.
        assert!(size_of::<Kept>() <= 72, "{}", size_of::<Kept>());
    }
}
