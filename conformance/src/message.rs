//! What scripts say to drivers and drivers say back: one JSON object a line for drivers in other languages.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Payloads up to this size are told as they are, larger ones by size and SHA-256.
const PLAIN_PAYLOAD_BYTES: usize = 256;

/// The version that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Hash, clap::ValueEnum)]
#[serde(into = "u8")]
pub(crate) enum Version {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5.0")]
    V5,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V311, Self::V5];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

impl From<Version> for u8 {
    fn from(version: Version) -> Self {
        match version {
            Version::V311 => 4,
            Version::V5 => 5,
        }
    }
}

/// What a client is told to do. The answers are [`Event`]s of the same peer.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Answered by `connected`, `closed` or `failed`.
    Connect(Connect),
    /// Answered by `subscribed`.
    Subscribe(Subscribe),
    /// Answered by `unsubscribed`.
    Unsubscribe { topic_filters: Vec<String> },
    /// Answered by `published` with the same tag, once the exchange is over.
    Publish(Publish),
    /// DISCONNECT; answered by `closed`.
    Disconnect,
    /// Ends the client without a word, and drops what belongs to it. Not answered.
    Forget,
}

/// Where and how to connect. What is `None` is left to the client library.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Connect {
    pub(crate) port: u16,
    pub(crate) version: u8,
    pub(crate) client_id: String,
    /// Clean Session of 3.1.1, Clean Start of 5.0.
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_expiry_interval_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receive_maximum: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic_alias_maximum: Option<u16>,
    /// Libraries that assign topic aliases by themselves do so only when told.
    pub(crate) assign_topic_aliases: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authentication_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) will: Option<Will>,
}

/// A will.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_s: Option<u32>,
}

/// A SUBSCRIBE.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Subscribe {
    pub(crate) filters: Vec<Filter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identifier: Option<u32>,
}

/// A topic filter with its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Filter {
    pub(crate) topic_filter: String,
    pub(crate) qos: u8,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
}

/// A publication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Publish {
    pub(crate) tag: u64,
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_expiry_interval_s: Option<u32>,
    /// The client is to use this alias: with the topic's name the first time, without it afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic_alias: Option<u16>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user_properties: BTreeMap<String, String>,
}

/// What a client library told its user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    Connected {
        /// Where the library tells it.
        #[serde(default)]
        session_present: Option<bool>,
    },
    Subscribed,
    Unsubscribed,
    /// The exchange is over; the reason code where the library tells it.
    Published {
        tag: u64,
        #[serde(default)]
        reason_code: Option<u8>,
    },
    Message(Received),
    /// The connection is over, or did not come about.
    Closed {
        #[serde(default)]
        why: String,
    },
    /// The library refused to do what it was told, or the driver cannot.
    Failed {
        why: String,
    },
}

/// A message as the client library gave it to its user.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// As [`told_payload`] tells it.
    pub(crate) payload: String,
}

/// Tells a payload as drivers do: as it is, or `<bytes>:<SHA-256>` when it is large.
pub(crate) fn told_payload(payload: &[u8]) -> String {
    if payload.len() <= PLAIN_PAYLOAD_BYTES {
        return String::from_utf8_lossy(payload).into_owned();
    }
    let mut told = format!("{}:", payload.len());
    for byte in Sha256::digest(payload) {
        let _ = write!(told, "{byte:02x}");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_object_that_names_what_to_do() {
        let line = serde_json::to_string(&Command::Publish(Publish {
            tag: 7,
            topic: "a".into(),
            ..Publish::default()
        }))
        .unwrap();
        assert_eq!(
            line,
            r#"{"do":"publish","tag":7,"topic":"a","payload":"","qos":0,"retain":false}"#
        );
    }

    #[test]
    fn large_payloads_are_told_by_size_and_hash() {
        assert_eq!(told_payload(b"hello"), "hello");
        let told = told_payload(&[b'x'; 1000]);
        assert!(told.starts_with("1000:") && told.len() == 5 + 64, "{told}");
    }
}
