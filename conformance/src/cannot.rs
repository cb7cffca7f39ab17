//! What a client library cannot do, with the reason: scripts leave it out, and the documentation tells.

use crate::driver::Client;
use crate::message::Version;

/// Something that a script needs of a client and not every client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feature {
    /// Filters of one SUBSCRIBE with different QoS.
    QosPerFilter,
    /// Retain Handling.
    RetainHandling,
    /// Using a topic alias when publishing.
    AliasOut,
    /// Understanding topic aliases of the broker.
    AliasIn,
    /// Subscription identifiers.
    SubscriptionIdentifier,
    /// Unsubscribing while connected.
    Unsubscribe,
    /// An authentication method in CONNECT.
    AuthenticationMethod,
    /// DISCONNECT that drops the will.
    NormalDisconnection,
}

impl Feature {
    /// As the documentation names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::QosPerFilter => "filters of one SUBSCRIBE with different QoS",
            Self::RetainHandling => "Retain Handling",
            Self::AliasOut => "topic alias to the broker",
            Self::AliasIn => "topic alias from the broker",
            Self::SubscriptionIdentifier => "subscription identifier",
            Self::Unsubscribe => "UNSUBSCRIBE while connected",
            Self::AuthenticationMethod => "authentication method in CONNECT",
            Self::NormalDisconnection => "DISCONNECT 0x00, which drops the will",
        }
    }

    /// Whether the version has it at all.
    const fn is_in(self, version: Version) -> bool {
        match self {
            Self::QosPerFilter | Self::Unsubscribe | Self::NormalDisconnection => true,
            Self::RetainHandling
            | Self::AliasOut
            | Self::AliasIn
            | Self::SubscriptionIdentifier
            | Self::AuthenticationMethod => matches!(version, Version::V5),
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Cannot {
    pub(crate) client: Client,
    /// `None` is both.
    pub(crate) version: Option<Version>,
    pub(crate) feature: Feature,
    pub(crate) reason: &'static str,
}

const fn row(client: Client, feature: Feature, reason: &'static str) -> Cannot {
    Cannot {
        client,
        version: None,
        feature,
        reason,
    }
}

const fn row_v5(client: Client, feature: Feature, reason: &'static str) -> Cannot {
    Cannot {
        version: Some(Version::V5),
        ..row(client, feature, reason)
    }
}

/// Everything that a library cannot do though its version has it.
pub(crate) const CANNOT: &[Cannot] = &[
    row(
        Client::Mosquitto,
        Feature::QosPerFilter,
        "`mosquitto_sub -q` holds for all filters",
    ),
    row(
        Client::Mosquitto,
        Feature::RetainHandling,
        "`mosquitto_sub` 2.0.11 has no option for it",
    ),
    row(
        Client::Mosquitto,
        Feature::Unsubscribe,
        "`mosquitto_sub -U` unsubscribes only at its start",
    ),
    row(
        Client::Mosquitto,
        Feature::AliasIn,
        "`mosquitto_sub` 2.0.11 ends when a PUBLISH comes without a topic name",
    ),
    row(
        Client::Mosquitto,
        Feature::SubscriptionIdentifier,
        "`mosquitto_sub` 2.0.11 takes a second identifier in a PUBLISH for malformed and ends the connection",
    ),
    row_v5(
        Client::Mosquitto,
        Feature::NormalDisconnection,
        "`mosquitto_sub` says DISCONNECT 0x04, with will, when it is told to stop",
    ),
    row(
        Client::Paho,
        Feature::AliasIn,
        "the library gives its user an empty topic name",
    ),
    row(
        Client::Rumqttc,
        Feature::AliasIn,
        "the library gives its user an empty topic name",
    ),
];

/// Why a client cannot do something; `None` when it can.
pub(crate) fn cannot(client: Client, version: Version, feature: Feature) -> Option<&'static str> {
    if !feature.is_in(version) {
        return Some("the version does not have it");
    }
    CANNOT
        .iter()
        .find(|row| row.client == client && row.feature == feature && row.version.is_none_or(|only| only == version))
        .map(|row| row.reason)
}
