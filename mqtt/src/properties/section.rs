//! One section of properties, as a packet's decoder walks through it.

use super::{Property, SubscriptionIdentifiers, UserProperties};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::limits::DecodeLimits;
use crate::reader::Reader;

/// Walks through a section. User properties and subscription identifiers, which may repeat, are counted here; all
/// others are handed to the packet.
pub(crate) struct Section<'a> {
    bytes: &'a [u8],
    reader: Reader<'a>,
    max_user_properties: u32,
    user_properties: u32,
    subscription_identifiers: u32,
}

impl<'a> Section<'a> {
    /// Reads the length and takes that many bytes for the section.
    #[inline]
    pub(crate) fn read(reader: &mut Reader<'a>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let section = Self::unbounded(reader.section()?);
        Ok(Self {
            max_user_properties: limits.max_user_properties,
            ..section
        })
    }

    /// A section without its length, from a source that was bounded before.
    pub(crate) const fn unbounded(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            reader: Reader::new(bytes),
            max_user_properties: u32::MAX,
            user_properties: 0,
            subscription_identifiers: 0,
        }
    }

    /// Returns the next property that is no user property; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        while !self.reader.is_empty() {
            match Property::read(&mut self.reader)? {
                Property::UserProperty(..) => {
                    self.user_properties += 1;
                    if self.user_properties > self.max_user_properties {
                        return Err(DecodeErrorKind::TooManyUserProperties.into());
                    }
                }
                property @ Property::SubscriptionIdentifier(value) => {
                    if value == 0 {
                        return Err(out_of_range(&property));
                    }
                    self.subscription_identifiers += 1;
                    return Ok(Some(property));
                }
                property => return Ok(Some(property)),
            }
        }
        Ok(None)
    }

    /// The user properties of the section, after [`Section::next`] has returned `None`.
    pub(crate) const fn user_properties(&self) -> UserProperties<'a> {
        UserProperties::from_section(self.bytes, self.user_properties)
    }

    /// The subscription identifiers of the section, after [`Section::next`] has returned `None`.
    pub(crate) const fn subscription_identifiers(&self) -> SubscriptionIdentifiers<'a> {
        SubscriptionIdentifiers::from_section(self.bytes, self.subscription_identifiers)
    }
}

/// Fills `slot`, which must be empty: every property but these two may be there once.
#[inline]
pub(crate) fn set_once<T>(slot: &mut Option<T>, value: T, property: &Property<'_>) -> Result<(), DecodeError> {
    if slot.is_some() {
        return Err(DecodeErrorKind::PropertyRepeated {
            identifier: property.identifier(),
        }
        .into());
    }
    *slot = Some(value);
    Ok(())
}

/// The refusal of a property that its packet does not carry.
pub(crate) fn not_allowed(property: &Property<'_>) -> DecodeError {
    DecodeErrorKind::PropertyNotAllowed {
        identifier: property.identifier(),
    }
    .into()
}

/// The refusal of a property whose value is outside its range.
pub(crate) fn out_of_range(property: &Property<'_>) -> DecodeError {
    DecodeErrorKind::PropertyValue {
        identifier: property.identifier(),
    }
    .into()
}

/// The byte that stands for a truth value.
pub(crate) fn boolean(value: u8, property: &Property<'_>) -> Result<bool, DecodeError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(out_of_range(property)),
    }
}

/// A number that must not be 0.
pub(crate) fn non_zero<N, T: TryFrom<N>>(value: N, property: &Property<'_>) -> Result<T, DecodeError> {
    T::try_from(value).map_err(|_| out_of_range(property))
}
