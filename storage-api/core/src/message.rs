//! An application message on its way, and a will.

use bytes::Bytes;

use crate::{ExactlyOnce, PublisherId, QoS};

/// An application message. Where it passes from queue to queue it is in an [`Arc`](std::sync::Arc), which all of them
/// share; its bytes are shared too.
///
/// `topic_name` has been checked by the proxy that took it in: well-formed UTF-8, no wildcard, not empty
/// (MQTT 5.0, 3.3.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic Name, UTF-8.
    pub topic_name: Bytes,
    /// Application payload.
    pub payload: Bytes,
    /// QoS of the PUBLISH.
    pub qos: QoS,
    /// RETAIN of the PUBLISH. On a delivery: whether the message was published with it.
    pub retain: bool,
    /// Who published, for No Local.
    pub publisher: PublisherId,
    /// Seconds the message may still live, counted from when this value was handed over; none: for ever
    /// (MQTT 5.0, 3.3.2.3.3).
    pub message_expiry_interval_s: Option<u32>,
    /// The properties that travel with a message, encoded as in an MQTT 5.0 PUBLISH, without length, topic alias,
    /// subscription identifier and message expiry interval. Empty for 3.1.1.
    pub forwarded_properties: Bytes,
    /// On the way in alone: which QoS 2 exchange it is, when its session outlives its connection.
    pub exactly_once: Option<Box<ExactlyOnce>>,
}

impl Message {
    /// Bytes that this message is charged with wherever messages are bounded.
    #[must_use]
    pub fn charged_bytes(&self) -> usize {
        Self::charged_for(self.topic_name.len() + self.payload.len() + self.forwarded_properties.len())
    }

    /// The same of a message whose topic name, payload and properties are so long together.
    #[must_use]
    pub fn charged_for(bytes: usize) -> usize {
        /// What a message costs beside its bytes: handles, counters, its place in a queue.
        const OVERHEAD_BYTES: usize = 128;
        bytes + OVERHEAD_BYTES
    }
}

/// A will message (MQTT 5.0, 3.1.2.5), kept at the session's shard while the client is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// What is published.
    pub message: Message,
    /// Will Delay Interval in seconds (MQTT 5.0, 3.1.3.2.2); 0 in 3.1.1.
    pub delay_interval_s: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_charged_for_all_that_it_holds() {
        let message = Message {
            topic_name: Bytes::from_static(b"a/b"),
            payload: Bytes::from_static(b"hello"),
            qos: QoS::AtLeastOnce,
            retain: false,
            publisher: PublisherId(1),
            message_expiry_interval_s: None,
            forwarded_properties: Bytes::from_static(b"1234567"),
            exactly_once: None,
        };
        assert_eq!(message.charged_bytes(), 3 + 5 + 7 + 128);
    }
}
