//! A message on its way to clients: shared between them, encoded once for those whose packets look the same.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use freshet_mqtt::{EncodeError, ProtocolVersion, PublishHead, PublishLayout, encode_publish, encode_publish_head};
use freshet_storage_contract::{Message, MonotonicMs};

/// A message that one or more clients of a worker are to get.
#[derive(Debug)]
pub(crate) struct OutMessage {
    pub(crate) message: Arc<Message>,
    /// From when on nobody gets it any more.
    pub(crate) expires: Option<MonotonicMs>,
    is_part: bool,
    own: OnceLock<Arc<Self>>,
    /// By [`shape`]. Only messages for several clients have them.
    encodings: OnceLock<Box<[OnceLock<Option<Encoded>>; 4]>>,
}

/// A PUBLISH whose first byte and packet id are to be replaced.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) layout: PublishLayout,
}

/// Payloads from here on are written from where they are; smaller ones are copied behind their head.
pub(crate) const SHARED_PAYLOAD_BYTES: usize = 4 << 10;

/// What a queued message costs beside its bytes.
const OVERHEAD_BYTES: usize = 200;

impl OutMessage {
    /// A message that storage handed over at `now`. `is_part`: its bytes are parts of a larger buffer.
    pub(crate) fn new(message: Arc<Message>, is_part: bool, now: MonotonicMs) -> Self {
        let expires = message
            .message_expiry_interval_s
            .map(|s| now.plus(Duration::from_secs(u64::from(s))));
        Self {
            message,
            expires,
            is_part,
            own: OnceLock::new(),
            encodings: OnceLock::new(),
        }
    }

    /// Whether the message keeps a larger buffer in memory.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// The same message with bytes of its own, for a queue in which it stays; copied once for all who wait for it.
    pub(crate) fn own(&self) -> Arc<Self> {
        let copied = || {
            let mut message = Message::clone(&self.message);
            let (topic, properties) = (message.topic_name.len(), message.forwarded_properties.len());
            let mut own = Vec::with_capacity(topic + properties + message.payload.len());
            own.extend_from_slice(&message.topic_name);
            own.extend_from_slice(&message.forwarded_properties);
            own.extend_from_slice(&message.payload);
            let own = Bytes::from(own);
            message.topic_name = own.slice(..topic);
            message.forwarded_properties = own.slice(topic..topic + properties);
            message.payload = own.slice(topic + properties..);
            let (own, encodings) = (OnceLock::new(), OnceLock::new());
            Arc::new(Self {
                message: Arc::new(message),
                expires: self.expires,
                is_part: false,
                own,
                encodings,
            })
        };
        self.own.get_or_init(copied).clone()
    }

    /// Topic Name.
    pub(crate) fn topic_name(&self) -> &str {
        // Checked where the message came in.
        str::from_utf8(&self.message.topic_name).unwrap_or_default()
    }

    /// Bytes that a client's queue is charged with.
    pub(crate) fn charged_bytes(&self) -> usize {
        let message = &self.message;
        message.topic_name.len() + message.payload.len() + message.forwarded_properties.len() + OVERHEAD_BYTES
    }

    /// Whether the payload is copied behind its head.
    pub(crate) fn copies_payload(&self) -> bool {
        self.message.payload.len() < SHARED_PAYLOAD_BYTES
    }

    /// The packet for clients of `version` without topic alias, subscription identifier and expiry; with the payload
    /// if it is small. None: it cannot be encoded.
    pub(crate) fn encoded(&self, version: ProtocolVersion, is_acknowledged: bool) -> Option<&Encoded> {
        let encodings = self.encodings.get_or_init(Box::default);
        let place = encodings.get(shape(version, is_acknowledged))?;
        let encode = || {
            let qos = if is_acknowledged {
                freshet_mqtt::QoS::AtLeastOnce
            } else {
                freshet_mqtt::QoS::AtMostOnce
            };
            let head = PublishHead {
                qos,
                topic_name: &self.message.topic_name,
                forwarded_properties: &self.message.forwarded_properties,
                ..PublishHead::default()
            };
            let mut bytes = Vec::new();
            let layout = self.append(&mut bytes, version, &head).ok()?;
            Some(Encoded {
                bytes: bytes.into_boxed_slice(),
                layout,
            })
        };
        place.get_or_init(encode).as_ref()
    }

    /// Whether [`Self::encoded`] has it already.
    pub(crate) fn is_encoded(&self, version: ProtocolVersion, is_acknowledged: bool) -> bool {
        let encodings = self.encodings.get();
        let place = encodings.and_then(|all| all.get(shape(version, is_acknowledged)));
        place.is_some_and(|place| place.get().is_some())
    }

    /// Appends the packet, with the payload if it is small.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then as it was.
    pub(crate) fn append(
        &self,
        out: &mut Vec<u8>,
        version: ProtocolVersion,
        head: &PublishHead<'_>,
    ) -> Result<PublishLayout, EncodeError> {
        if self.copies_payload() {
            encode_publish(out, version, head, &self.message.payload)
        } else {
            encode_publish_head(out, version, head, self.message.payload.len())
        }
    }

    /// What is left of the expiry interval, in seconds (MQTT-3.3.2-6). `Err`: the message has expired (MQTT-3.3.2-5).
    pub(crate) fn remaining_s(&self, now: MonotonicMs) -> Result<Option<u32>, Expired> {
        let Some(expires) = self.expires else { return Ok(None) };
        if expires <= now {
            return Err(Expired);
        }
        // Rounded up: less than a second left is not zero.
        let seconds = expires.since(now).as_millis().div_ceil(1_000);
        Ok(Some(u32::try_from(seconds).unwrap_or(u32::MAX)))
    }
}

/// The message's expiry interval has passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired;

fn shape(version: ProtocolVersion, is_acknowledged: bool) -> usize {
    usize::from(version.has_properties()) * 2 + usize::from(is_acknowledged)
}
