//! What the clients of a run did and saw, and what was done to the broker: one list in the order in which it happened.
//!
//! Written by the recorder while a run goes on, read by the judge, kept in a file of one JSON object a line. What a
//! client says stands where it began to say it, what it hears where it had heard it: if one line stands before another
//! then it happened before it, whoever the clients are.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of a connection, from 1 on; each attempt has its own. 0 stands for the broker.
pub type ConnectionNumber = u32;

/// The place of an event in the history, from 0 on. People count from 1: [`shown`].
pub type Line = usize;

/// How people are told a line.
#[must_use]
pub const fn shown(line: Line) -> usize {
    line + 1
}

/// Everything that happened, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// What happened.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds since the run began.
    pub at_us: u64,
    /// On which connection.
    pub connection: ConnectionNumber,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Names a message: its payload is this, so that whoever receives it knows which one it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Client id of who publishes it.
    pub publisher: String,
    /// Where to.
    pub topic: String,
    /// Its place among those of this publisher to this topic.
    pub sequence: u64,
}

impl Message {
    /// The bytes that stand for the message.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The message whose payload this is.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut words = str::from_utf8(payload).ok()?.split(' ');
        let (publisher, topic, sequence) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        words.next().is_none().then(|| Self {
            publisher: publisher.to_owned(),
            topic: topic.to_owned(),
            sequence,
        })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.publisher, self.topic, self.sequence)
    }
}

/// A will as CONNECT has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WillSaid {
    /// What is published.
    pub message: Message,
    /// Its QoS.
    pub qos: u8,
}

/// What may happen. `packet_id`s are those of the packet; `reason` is the reason code, 0 before MQTT 5.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the packets")]
pub enum What {
    /// The client opens a connection and sends CONNECT.
    Connecting {
        client_id: String,
        version: u8,
        clean_start: bool,
        /// How long the session is to outlive the connection, in seconds; 0: it ends with it.
        expiry_s: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        will: Option<WillSaid>,
    },
    /// CONNACK came and lets the client in.
    Connected { session_present: bool },
    /// CONNACK came and does not.
    Refused { reason: u8 },
    /// The client sends DISCONNECT; its will goes with it.
    Disconnecting,
    /// The client hangs up without a word.
    HungUp,
    /// The end of what the broker sends was reached; `reason` of its DISCONNECT, if it said one.
    Closed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<u8>,
    },
    /// The broker sent what no client can read.
    Malformed { error: String },
    /// PUBLISH is sent. No message: the payload is empty, which clears what was retained.
    Publishing {
        packet_id: u16,
        topic: String,
        message: Option<Message>,
        qos: u8,
        retain: bool,
        dup: bool,
    },
    /// PUBACK came.
    PubAck { packet_id: u16, reason: u8 },
    /// PUBREC came.
    PubRec { packet_id: u16, reason: u8 },
    /// PUBREL is sent.
    Releasing { packet_id: u16 },
    /// PUBCOMP came.
    PubComp { packet_id: u16, reason: u8 },
    /// PUBLISH came. No message: the payload is empty.
    Received {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packet_id: Option<u16>,
        topic: String,
        message: Option<Message>,
        qos: u8,
        retain: bool,
        dup: bool,
    },
    /// PUBACK is sent.
    Acknowledging { packet_id: u16 },
    /// PUBREC is sent.
    Recording { packet_id: u16 },
    /// PUBREL came.
    Released { packet_id: u16 },
    /// PUBCOMP is sent.
    Completing { packet_id: u16 },
    /// SUBSCRIBE with one filter is sent.
    Subscribing { packet_id: u16, filter: String, qos: u8 },
    /// SUBACK came; `granted` as in the packet, 0x80 and above is a refusal.
    SubAck { packet_id: u16, granted: u8 },
    /// UNSUBSCRIBE with one filter is sent.
    Unsubscribing { packet_id: u16, filter: String },
    /// UNSUBACK came.
    UnsubAck { packet_id: u16 },
    /// PINGREQ is sent.
    Pinging,
    /// PINGRESP came.
    Pinged,
    /// The run is over: publishers have stopped, all is quiet, and this connection is open.
    AtRest,
    /// The broker was started.
    Started,
    /// The broker, or a part of it, was killed at a moment of its own choice or of ours.
    Killed { part: String, how: Killing },
    /// The broker, or a part of it, was told to stop.
    Terminated { part: String },
    /// The broker, or a part of it, was kept from running.
    Paused { part: String },
    /// It runs again.
    Continued { part: String },
}

/// How a process was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Killing {
    /// SIGKILL at any time.
    Signal,
    /// By itself, between two steps that have a name.
    FaultPoint(String),
}

impl History {
    /// Adds what would be there were this the end: all connections that are open are at rest.
    pub(crate) fn rest_all(&mut self) {
        let mut open = BTreeSet::new();
        for event in &self.events {
            match event.what {
                What::Connected { .. } => open.insert(event.connection),
                What::HungUp | What::Closed { .. } => open.remove(&event.connection),
                _ => false,
            };
        }
        let at_us = self.events.last().map_or(0, |event| event.at_us);
        self.events.extend(open.into_iter().map(|connection| Event {
            at_us,
            connection,
            what: What::AtRest,
        }));
    }

    /// The events as lines of JSON.
    ///
    /// # Errors
    /// What serde says; nothing in an event cannot be written.
    pub fn to_json_lines(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        for event in &self.events {
            text.push_str(&serde_json::to_string(event)?);
            text.push('\n');
        }
        Ok(text)
    }

    /// The events of lines of JSON.
    ///
    /// # Errors
    /// A line that is no event.
    pub fn from_json_lines(text: &str) -> Result<Self, serde_json::Error> {
        let events = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Self { events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_its_message() {
        let message = Message {
            publisher: "p-1".to_owned(),
            topic: "t/1".to_owned(),
            sequence: 7,
        };
        assert_eq!(Message::parse(&message.payload()), Some(message));
        for other in ["", "p t", "p t x", "p t 1 2"] {
            assert_eq!(Message::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let event = |what| Event {
            at_us: 5,
            connection: 1,
            what,
        };
        let history = History {
            events: vec![
                event(What::Connected { session_present: true }),
                event(What::Killed {
                    part: "broker".to_owned(),
                    how: Killing::FaultPoint("before-pubcomp".to_owned()),
                }),
                event(What::Received {
                    packet_id: None,
                    topic: "t".to_owned(),
                    message: None,
                    qos: 0,
                    retain: false,
                    dup: false,
                }),
            ],
        };
        let text = history.to_json_lines().unwrap();
        assert_eq!(History::from_json_lines(&text).unwrap(), history);
    }
}
