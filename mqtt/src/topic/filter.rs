//! The topic filter of a subscription, and which topic names it matches.

use std::fmt;

use super::shared::{self, SharedFilter};
use super::{TopicError, TopicName, check_common, level_count};

/// A valid topic filter: wildcards fill their level, `#` is the last, and the prefix of a shared subscription is
/// complete (MQTT 5.0, 4.7.1 and 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Validates a topic filter, shared or not.
    ///
    /// # Errors
    /// What [`TopicError`] says of filters.
    pub fn parse(filter: &'a str) -> Result<Self, TopicError> {
        check_common(filter)?;
        if memchr::memchr(0, filter.as_bytes()).is_some() {
            return Err(TopicError::NulCharacter);
        }
        let unshared = match shared::split(filter) {
            None => filter,
            Some(split) => split?.filter,
        };
        check_wildcards(unshared)?;
        Ok(Self(filter))
    }

    /// The filter as the client wrote it, the prefix of a shared subscription included. Subscriptions are compared
    /// by it, character by character (`[MQTT-3.10.4-1]`).
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The group and the shared filter, if this is a shared subscription.
    #[must_use]
    pub fn shared(self) -> Option<SharedFilter<'a>> {
        shared::split(self.0)?.ok()
    }

    /// The part that topic names are matched with: the filter without the prefix of a shared subscription.
    #[must_use]
    pub fn unshared(self) -> &'a str {
        self.shared().map_or(self.0, |shared| shared.filter)
    }

    /// Whether the unshared filter contains a wildcard.
    #[must_use]
    pub fn has_wildcard(self) -> bool {
        memchr::memchr2(b'#', b'+', self.unshared().as_bytes()).is_some()
    }

    /// The levels of the unshared filter, which may be empty.
    pub fn levels(self) -> impl DoubleEndedIterator<Item = &'a str> + Clone {
        self.unshared().split('/')
    }

    /// How many levels the unshared filter has.
    #[must_use]
    pub fn level_count(self) -> usize {
        level_count(self.unshared())
    }

    /// Whether the filter matches `topic_name`, see [`topic_matches`].
    #[must_use]
    pub fn matches(self, topic_name: TopicName<'_>) -> bool {
        topic_matches(self.unshared(), topic_name.as_str())
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Whether `filter`, taken without any prefix of a shared subscription, matches `topic_name`.
///
/// Levels are compared character by character; `+` stands for one level, `#` for any number of levels and also for
/// none, and neither stands for a first level that begins with `$` (`[MQTT-4.7.2-1]`).
#[must_use]
pub fn topic_matches(filter: &str, topic_name: &str) -> bool {
    if topic_name.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    // Levels are short: comparing byte by byte beats a search for each slash.
    let mut names = topic_name.as_bytes().split(|byte| *byte == b'/');
    for level in filter.as_bytes().split(|byte| *byte == b'/') {
        match (level, names.next()) {
            (b"#", _) => return true,
            (b"+", Some(_)) => {}
            (literal, Some(name)) if literal == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/');
    while let Some(level) = levels.next() {
        match level {
            "#" if levels.next().is_some() => return Err(TopicError::MultiLevelWildcard),
            "#" | "+" => {}
            _ => match memchr::memchr2(b'#', b'+', level.as_bytes()).and_then(|at| level.as_bytes().get(at)) {
                None => {}
                Some(b'#') => return Err(TopicError::MultiLevelWildcard),
                Some(_) => return Err(TopicError::SingleLevelWildcard),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, name: &str) -> bool {
        let filter = TopicFilter::parse(filter).expect(filter);
        filter.matches(TopicName::parse(name).expect(name))
    }

    #[test]
    #[cfg_attr(false, shows("5.0:4.7.3-4", "3.1.1:4.7.3-4"))]
    fn the_examples_of_section_4_7_match_as_it_says() {
        for name in [
            "sport/tennis/player1",
            "sport/tennis/player1/ranking",
            "sport/tennis/player1/score/wimbledon",
        ] {
            assert!(matches("sport/tennis/player1/#", name), "{name}");
        }
        assert!(matches("sport/#", "sport"));
        assert!(matches("#", "sport"));
        assert!(matches("sport/tennis/+", "sport/tennis/player1"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!matches("sport/+", "sport"));
        assert!(matches("sport/+", "sport/"));
        assert!(matches("+/+", "/finance"));
        assert!(matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
        assert!(!matches("ACCOUNTS", "Accounts"));
        assert!(!matches("/finance", "finance"));
    }

    #[test]
    #[cfg_attr(false, shows("5.0:4.7.2-1", "3.1.1:4.7.2-1"))]
    fn wildcards_at_the_front_do_not_match_dollar_topics() {
        assert!(!matches("#", "$SYS/monitor/Clients"));
        assert!(!matches("+/monitor/Clients", "$SYS/monitor/Clients"));
        assert!(matches("$SYS/#", "$SYS/monitor/Clients"));
        assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
        assert!(matches("a/#", "a/$b"));
        assert!(matches("a/+", "a/$b"));
    }

    #[test]
    #[cfg_attr(false, shows("5.0:4.7.1-1", "5.0:4.7.1-2", "3.1.1:4.7.1-2", "3.1.1:4.7.1-3"))]
    fn wildcards_must_fill_their_level_and_hash_must_be_last() {
        for filter in ["#", "+", "a/#", "+/+/#", "a/+/b", "/+", "+/", "//#", "sport/+/player1"] {
            assert!(TopicFilter::parse(filter).is_ok(), "{filter}");
        }
        for filter in ["a#", "a/#/b", "#/a", "##", "a/b#", "#/", "a/#/"] {
            assert_eq!(
                TopicFilter::parse(filter),
                Err(TopicError::MultiLevelWildcard),
                "{filter}"
            );
        }
        for filter in ["a+", "+a", "++", "a/b+/c", "sport+"] {
            assert_eq!(
                TopicFilter::parse(filter),
                Err(TopicError::SingleLevelWildcard),
                "{filter}"
            );
        }
        assert_eq!(TopicFilter::parse(""), Err(TopicError::Empty));
        assert_eq!(TopicFilter::parse("a\0b"), Err(TopicError::NulCharacter));
    }

    #[test]
    #[cfg_attr(false, shows("5.0:4.8.2-1", "5.0:4.8.2-2"))]
    fn a_shared_filter_has_a_name_without_wildcards_and_a_filter() {
        let shared = |filter| TopicFilter::parse(filter).expect("valid").shared();
        assert_eq!(
            shared("$share/g/a/+"),
            Some(SharedFilter {
                group: "g",
                filter: "a/+"
            })
        );
        assert_eq!(
            shared("$share/g//a"),
            Some(SharedFilter {
                group: "g",
                filter: "/a"
            })
        );
        assert_eq!(
            shared("$share/g/#"),
            Some(SharedFilter {
                group: "g",
                filter: "#"
            })
        );
        assert_eq!(
            shared("$queue/a"),
            Some(SharedFilter {
                group: "$queue",
                filter: "a"
            })
        );
        assert_eq!(
            shared("$share/g/$share/h/a"),
            Some(SharedFilter {
                group: "g",
                filter: "$share/h/a"
            })
        );
        // Without the slash it is a filter like any other.
        assert_eq!(shared("$share"), None);
        assert_eq!(shared("$shared/g/a"), None);
        assert_eq!(shared("$queue"), None);
        assert_eq!(shared("a/$share/g/a"), None);

        for filter in ["$share/", "$share//a", "$share/+/a", "$share/a#/a", "$share/+a/b"] {
            assert_eq!(TopicFilter::parse(filter), Err(TopicError::ShareName), "{filter}");
        }
        for filter in ["$share/g", "$share/g/", "$queue/"] {
            assert_eq!(
                TopicFilter::parse(filter),
                Err(TopicError::SharedFilterMissing),
                "{filter}"
            );
        }
        assert_eq!(TopicFilter::parse("$share/g/a#"), Err(TopicError::MultiLevelWildcard));
    }

    #[test]
    fn a_shared_filter_matches_by_what_follows_the_share_name() {
        assert!(matches("$share/g/sport/#", "sport/tennis"));
        assert!(!matches("$share/g/sport/#", "g/sport"));
        assert!(!matches("$share/g/#", "$SYS/a"));
        assert_eq!(TopicFilter::parse("$share/g/a/b").expect("valid").level_count(), 2);
    }

    #[test]
    fn many_levels_and_wildcards_take_one_pass() {
        let name = "a/".repeat(30_000);
        let filter = "+/".repeat(30_000);
        assert!(matches(&filter, &name));
        assert!(!matches(&format!("{filter}a"), &name));
    }
}
