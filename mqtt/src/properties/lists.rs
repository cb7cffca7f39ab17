//! The two properties that may repeat: User Property and Subscription Identifier.
//!
//! Decoded, they are views of a section of properties that was validated once; built by hand, views of a slice.

use std::fmt;

use super::Property;
use crate::error::EncodeError;
use crate::reader::Reader;
use crate::sink::Sink;

/// The user properties of a packet, in the order in which they were sent.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a>(List<'a, (&'a str, &'a str)>);

/// The subscription identifiers of a PUBLISH, in the order in which they were sent.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIdentifiers<'a>(List<'a, u32>);

#[derive(Clone, Copy)]
enum List<'a, T> {
    /// A validated section, and how many of its properties are of the list.
    Section {
        bytes: &'a [u8],
        count: u32,
    },
    Slice(&'a [T]),
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self::Slice(&[])
    }
}

impl<'a, T> List<'a, T> {
    const fn len(&self) -> usize {
        match self {
            Self::Section { count, .. } => *count as usize,
            Self::Slice(items) => items.len(),
        }
    }

    const fn walk(&self) -> Walk<'a, T> {
        match *self {
            Self::Section { bytes, count } => Walk::Section {
                reader: Reader::new(bytes),
                left: count,
            },
            Self::Slice(items) => Walk::Slice(items),
        }
    }
}

#[derive(Clone, Copy)]
enum Walk<'a, T> {
    Section { reader: Reader<'a>, left: u32 },
    Slice(&'a [T]),
}

impl<'a, T: Copy> Walk<'a, T> {
    #[inline]
    fn next(&mut self, pick: fn(Property<'a>) -> Option<T>) -> Option<T> {
        match self {
            Self::Slice(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(*first)
            }
            Self::Section { reader, left } => {
                *left = left.checked_sub(1)?;
                loop {
                    // The section was validated before, so that an error cannot come up; it would end the list.
                    if let Some(item) = pick(Property::read(reader).ok()?) {
                        return Some(item);
                    }
                }
            }
        }
    }

    const fn left(&self) -> usize {
        match self {
            Self::Section { left, .. } => *left as usize,
            Self::Slice(items) => items.len(),
        }
    }
}

impl<'a> UserProperties<'a> {
    /// No user property.
    pub const NONE: Self = Self(List::Slice(&[]));

    /// User properties for a packet that is to be written.
    #[must_use]
    pub const fn from_pairs(pairs: &'a [(&'a str, &'a str)]) -> Self {
        Self(List::Slice(pairs))
    }

    pub(super) const fn from_section(bytes: &'a [u8], count: u32) -> Self {
        Self(List::Section { bytes, count })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names and values. A name may come up more than once.
    #[must_use]
    pub const fn iter(&self) -> UserPropertiesIter<'a> {
        UserPropertiesIter(self.0.walk())
    }

    pub(crate) fn write<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        self.iter()
            .try_for_each(|(name, value)| Property::UserProperty(name, value).write(sink))
    }
}

impl<'a> SubscriptionIdentifiers<'a> {
    /// No subscription identifier.
    pub const NONE: Self = Self(List::Slice(&[]));

    /// Subscription identifiers for a packet that is to be written, each 1 to 268,435,455.
    #[must_use]
    pub const fn from_slice(identifiers: &'a [u32]) -> Self {
        Self(List::Slice(identifiers))
    }

    pub(super) const fn from_section(bytes: &'a [u8], count: u32) -> Self {
        Self(List::Section { bytes, count })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identifiers. One may come up more than once.
    #[must_use]
    pub const fn iter(&self) -> SubscriptionIdentifiersIter<'a> {
        SubscriptionIdentifiersIter(self.0.walk())
    }

    pub(crate) fn write<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        self.iter()
            .try_for_each(|identifier| Property::SubscriptionIdentifier(identifier).write(sink))
    }
}

/// Iterates over [`UserProperties`].
#[derive(Clone)]
pub struct UserPropertiesIter<'a>(Walk<'a, (&'a str, &'a str)>);

/// Iterates over [`SubscriptionIdentifiers`].
#[derive(Clone)]
pub struct SubscriptionIdentifiersIter<'a>(Walk<'a, u32>);

impl<'a> Iterator for UserPropertiesIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left(), Some(self.0.left()))
    }
}

impl Iterator for SubscriptionIdentifiersIter<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.next(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left(), Some(self.0.left()))
    }
}

impl ExactSizeIterator for UserPropertiesIter<'_> {}
impl ExactSizeIterator for SubscriptionIdentifiersIter<'_> {}

macro_rules! list_traits {
    ($list:ident, $iter:ident, $item:ty) => {
        impl<'a> IntoIterator for $list<'a> {
            type Item = $item;
            type IntoIter = $iter<'a>;

            fn into_iter(self) -> $iter<'a> {
                self.iter()
            }
        }

        /// Equal when they hold the same items in the same order, wherever they are.
        impl PartialEq for $list<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.iter().eq(other.iter())
            }
        }

        impl Eq for $list<'_> {}

        impl fmt::Debug for $list<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }
    };
}

list_traits!(UserProperties, UserPropertiesIter, (&'a str, &'a str));
list_traits!(SubscriptionIdentifiers, SubscriptionIdentifiersIter, u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_a_section_equals_the_same_list_in_a_slice() {
        let mut section = Vec::new();
        for property in [
            Property::TopicAlias(7),
            Property::UserProperty("a", "1"),
            Property::SubscriptionIdentifier(300),
            Property::UserProperty("a", "2"),
            Property::ContentType("text"),
            Property::SubscriptionIdentifier(1),
        ] {
            property.write(&mut section).expect("short");
        }
        let users = UserProperties::from_section(&section, 2);
        assert_eq!(users, UserProperties::from_pairs(&[("a", "1"), ("a", "2")]));
        assert_eq!(users.iter().len(), 2);
        assert_eq!(
            SubscriptionIdentifiers::from_section(&section, 2),
            SubscriptionIdentifiers::from_slice(&[300, 1])
        );
        assert_ne!(users, UserProperties::NONE);
    }
}
