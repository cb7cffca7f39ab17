//! The topic name of a message.

use std::fmt;

use super::{TopicError, check_common, level_count};

/// Up to here a look at each byte is cheaper than preparing to look at many at once.
const SHORT_BYTES: usize = 24;

/// A valid topic name: not empty, without wildcards and without U+0000 (MQTT 5.0, 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Validates a topic name.
    ///
    /// # Errors
    /// What [`TopicError`] says of names.
    #[inline]
    pub fn parse(name: &'a str) -> Result<Self, TopicError> {
        check_common(name)?;
        let bytes = name.as_bytes();
        let refused = if bytes.len() <= SHORT_BYTES {
            bytes.iter().find(|byte| matches!(byte, b'#' | b'+' | 0))
        } else {
            memchr::memchr3(b'#', b'+', 0, bytes).and_then(|at| bytes.get(at))
        };
        match refused {
            None => Ok(Self(name)),
            Some(0) => Err(TopicError::NulCharacter),
            Some(_) => Err(TopicError::Wildcard),
        }
    }

    /// The name as it was written.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels, which may be empty: `/a` has two.
    pub fn levels(self) -> impl DoubleEndedIterator<Item = &'a str> + Clone {
        self.0.split('/')
    }

    /// How many levels the name has.
    #[must_use]
    pub fn level_count(self) -> usize {
        level_count(self.0)
    }

    /// Whether the name begins with `$`, so that no filter that begins with a wildcard matches it
    /// (`[MQTT-4.7.2-1]`).
    #[must_use]
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_empty_levels_and_any_script_are_valid() {
        for name in [
            "a",
            "/",
            "//",
            "a/b",
            "/finance",
            "Accounts payable",
            "$SYS/broker",
            "温度/室内",
            "\u{1}",
            "a//b/",
        ] {
            let parsed = TopicName::parse(name).expect(name);
            assert_eq!(parsed.as_str(), name);
            assert_eq!(parsed.levels().count(), parsed.level_count());
        }
    }

    #[test]
    #[cfg_attr(
        false,
        shows("5.0:4.7.0-1", "5.0:4.7.3-1", "5.0:4.7.3-2", "3.1.1:4.7.1-1", "3.1.1:4.7.3-2")
    )]
    fn empty_names_wildcards_and_nul_are_refused() {
        assert_eq!(TopicName::parse(""), Err(TopicError::Empty));
        assert_eq!(TopicName::parse("a\0"), Err(TopicError::NulCharacter));
        for name in ["#", "+", "a/#", "a/+/b", "a#", "+a"] {
            assert_eq!(TopicName::parse(name), Err(TopicError::Wildcard), "{name}");
        }
    }

    #[test]
    #[cfg_attr(false, shows("5.0:4.7.3-3", "3.1.1:4.7.3-3"))]
    fn the_longest_name_is_65535_bytes() {
        let longest = "a".repeat(65_535);
        assert!(TopicName::parse(&longest).is_ok());
        let longer = "a".repeat(65_536);
        assert_eq!(TopicName::parse(&longer), Err(TopicError::TooLong));
    }
}
