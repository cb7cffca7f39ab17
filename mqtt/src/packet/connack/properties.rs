//! The properties of CONNACK (MQTT 5.0, 3.2.2.3).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::error::{DecodeError, EncodeError};
use crate::limits::{DecodeLimits, Peer};
use crate::packet::ack::Explanation;
use crate::properties::{Property, Section, UserProperties, boolean, non_zero, not_allowed, out_of_range, set_once};
use crate::qos::QoS;
use crate::reader::Reader;
use crate::sink::{Detail, Sink, Write};

/// The properties of a CONNACK. Each says beside it what its absence means.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnAckProperties<'a> {
    /// How long the session outlives the connection, in seconds; what CONNECT said.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages may be under way to the server; 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS that the server accepts in PUBLISH, 0 or 1; 2.
    pub maximum_qos: Option<QoS>,
    /// Whether the server retains messages; yes.
    pub retain_available: Option<bool>,
    /// The largest packet that the server accepts, in bytes; no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The client id for a client that came without; the client's own.
    pub assigned_client_identifier: Option<&'a str>,
    /// The highest topic alias that the client may use; 0, none.
    pub topic_alias_maximum: Option<u16>,
    /// For people who diagnose.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Whether filters may have wildcards; yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscriptions may have identifiers; yes.
    pub subscription_identifiers_available: Option<bool>,
    /// Whether subscriptions may be shared; yes.
    pub shared_subscription_available: Option<bool>,
    /// The keep alive that the server keeps to, in seconds; what CONNECT said.
    pub server_keep_alive_seconds: Option<u16>,
    /// What response topics are made from.
    pub response_information: Option<&'a str>,
    /// Where the client may go instead.
    pub server_reference: Option<&'a str>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// What the method says last.
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> ConnAckProperties<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut section = Section::read(reader, limits)?;
        let mut properties = Self::default();
        while let Some(property) = section.next()? {
            properties.set(&property)?;
        }
        properties.user_properties = section.user_properties();
        Ok(properties)
    }

    fn set(&mut self, property: &Property<'a>) -> Result<(), DecodeError> {
        match *property {
            Property::SessionExpiryInterval(value) => set_once(&mut self.session_expiry_interval, value, property),
            Property::ReceiveMaximum(value) => {
                set_once(&mut self.receive_maximum, non_zero(value, property)?, property)
            }
            Property::MaximumQos(value) => {
                let qos = QoS::from_bits(value).filter(|qos| *qos < QoS::ExactlyOnce);
                set_once(
                    &mut self.maximum_qos,
                    qos.ok_or_else(|| out_of_range(property))?,
                    property,
                )
            }
            Property::RetainAvailable(value) => {
                set_once(&mut self.retain_available, boolean(value, property)?, property)
            }
            Property::MaximumPacketSize(value) => {
                set_once(&mut self.maximum_packet_size, non_zero(value, property)?, property)
            }
            Property::AssignedClientIdentifier(value) => {
                set_once(&mut self.assigned_client_identifier, value, property)
            }
            Property::TopicAliasMaximum(value) => set_once(&mut self.topic_alias_maximum, value, property),
            Property::ReasonString(value) => set_once(&mut self.reason_string, value, property),
            Property::WildcardSubscriptionAvailable(value) => set_once(
                &mut self.wildcard_subscription_available,
                boolean(value, property)?,
                property,
            ),
            Property::SubscriptionIdentifierAvailable(value) => set_once(
                &mut self.subscription_identifiers_available,
                boolean(value, property)?,
                property,
            ),
            Property::SharedSubscriptionAvailable(value) => set_once(
                &mut self.shared_subscription_available,
                boolean(value, property)?,
                property,
            ),
            Property::ServerKeepAlive(value) => set_once(&mut self.server_keep_alive_seconds, value, property),
            Property::ResponseInformation(value) => set_once(&mut self.response_information, value, property),
            Property::ServerReference(value) => set_once(&mut self.server_reference, value, property),
            Property::AuthenticationMethod(value) => set_once(&mut self.authentication_method, value, property),
            Property::AuthenticationData(value) => set_once(&mut self.authentication_data, value, property),
            _ => Err(not_allowed(property)),
        }
    }
}

impl Write for ConnAckProperties<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        let properties = [
            self.session_expiry_interval.map(Property::SessionExpiryInterval),
            self.receive_maximum.map(|value| Property::ReceiveMaximum(value.get())),
            // QoS 2 is said by saying nothing.
            self.maximum_qos
                .filter(|qos| *qos < QoS::ExactlyOnce)
                .map(|qos| Property::MaximumQos(qos.bits())),
            self.retain_available
                .map(|value| Property::RetainAvailable(u8::from(value))),
            self.maximum_packet_size
                .map(|value| Property::MaximumPacketSize(value.get())),
            self.assigned_client_identifier.map(Property::AssignedClientIdentifier),
            self.topic_alias_maximum.map(Property::TopicAliasMaximum),
            self.wildcard_subscription_available
                .map(|value| Property::WildcardSubscriptionAvailable(u8::from(value))),
            self.subscription_identifiers_available
                .map(|value| Property::SubscriptionIdentifierAvailable(u8::from(value))),
            self.shared_subscription_available
                .map(|value| Property::SharedSubscriptionAvailable(u8::from(value))),
            self.server_keep_alive_seconds.map(Property::ServerKeepAlive),
            self.response_information.map(Property::ResponseInformation),
            self.server_reference.map(Property::ServerReference),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        properties
            .iter()
            .flatten()
            .try_for_each(|property| property.write(sink))?;
        let explanation = Explanation {
            reason_string: self.reason_string,
            user_properties: self.user_properties,
        };
        explanation.write(peer, detail, sink)
    }
}

/// Leaves the authentication data out: it has no place in a log.
impl fmt::Debug for ConnAckProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnAckProperties")
            .field("session_expiry_interval", &self.session_expiry_interval)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_qos", &self.maximum_qos)
            .field("retain_available", &self.retain_available)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("assigned_client_identifier", &self.assigned_client_identifier)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("reason_string", &self.reason_string)
            .field("user_properties", &self.user_properties)
            .field("wildcard_subscription_available", &self.wildcard_subscription_available)
            .field(
                "subscription_identifiers_available",
                &self.subscription_identifiers_available,
            )
            .field("shared_subscription_available", &self.shared_subscription_available)
            .field("server_keep_alive_seconds", &self.server_keep_alive_seconds)
            .field("response_information", &self.response_information)
            .field("server_reference", &self.server_reference)
            .field("authentication_method", &self.authentication_method)
            .field("has_authentication_data", &self.authentication_data.is_some())
            .finish()
    }
}
