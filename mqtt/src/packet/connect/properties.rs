//! The properties of CONNECT (MQTT 5.0, 3.1.2.11).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::limits::{DecodeLimits, Peer};
use crate::properties::{Property, Section, UserProperties, boolean, non_zero, not_allowed, set_once};
use crate::reader::Reader;
use crate::sink::{Detail, Sink, Write};

/// The properties of a CONNECT. Each says beside it what its absence means.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// How long the session outlives the connection, in seconds; 0. `u32::MAX` is for ever.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages may be under way to the client; 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet that the client accepts, in bytes; no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias that the server may use; 0, none.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client asks for Response Information; no.
    pub request_response_information: Option<bool>,
    /// Whether acknowledgements may explain themselves; yes.
    pub request_problem_information: Option<bool>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The method of enhanced authentication; none.
    pub authentication_method: Option<&'a str>,
    /// What the method says first.
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> ConnectProperties<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut section = Section::read(reader, limits)?;
        let mut properties = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::SessionExpiryInterval(value) => {
                    set_once(&mut properties.session_expiry_interval, value, &property)?;
                }
                Property::ReceiveMaximum(value) => {
                    set_once(&mut properties.receive_maximum, non_zero(value, &property)?, &property)?;
                }
                Property::MaximumPacketSize(value) => {
                    set_once(
                        &mut properties.maximum_packet_size,
                        non_zero(value, &property)?,
                        &property,
                    )?;
                }
                Property::TopicAliasMaximum(value) => {
                    set_once(&mut properties.topic_alias_maximum, value, &property)?;
                }
                Property::RequestResponseInformation(value) => {
                    let value = boolean(value, &property)?;
                    set_once(&mut properties.request_response_information, value, &property)?;
                }
                Property::RequestProblemInformation(value) => {
                    let value = boolean(value, &property)?;
                    set_once(&mut properties.request_problem_information, value, &property)?;
                }
                Property::AuthenticationMethod(value) => {
                    set_once(&mut properties.authentication_method, value, &property)?;
                }
                Property::AuthenticationData(value) => {
                    set_once(&mut properties.authentication_data, value, &property)?;
                }
                _ => return Err(not_allowed(&property)),
            }
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeErrorKind::AuthenticationMethodMissing.into());
        }
        properties.user_properties = section.user_properties();
        Ok(properties)
    }
}

impl Write for ConnectProperties<'_> {
    fn write<S: Sink>(&self, _: &Peer, _: Detail, sink: &mut S) -> Result<(), EncodeError> {
        let properties = [
            self.session_expiry_interval.map(Property::SessionExpiryInterval),
            self.receive_maximum.map(|value| Property::ReceiveMaximum(value.get())),
            self.maximum_packet_size
                .map(|value| Property::MaximumPacketSize(value.get())),
            self.topic_alias_maximum.map(Property::TopicAliasMaximum),
            self.request_response_information
                .map(|value| Property::RequestResponseInformation(u8::from(value))),
            self.request_problem_information
                .map(|value| Property::RequestProblemInformation(u8::from(value))),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        properties
            .iter()
            .flatten()
            .try_for_each(|property| property.write(sink))?;
        self.user_properties.write(sink)
    }
}

/// Leaves the authentication data out: it has no place in a log.
impl fmt::Debug for ConnectProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry_interval", &self.session_expiry_interval)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("user_properties", &self.user_properties)
            .field("authentication_method", &self.authentication_method)
            .field("has_authentication_data", &self.authentication_data.is_some())
            .finish()
    }
}
