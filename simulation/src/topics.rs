//! The few topics and filters that all sequences use, and what matches what.
//!
//! Few, so that clients meet; chosen so that filters overlap, end at several shards, and run into the exceptions of
//! the specification. The matcher is the model's own: it is compared with, not shared with, what storage does.

/// Where clients publish. Some are long enough for a topic alias to be worth it.
pub(crate) const TOPICS: [&str; 7] = ["a", "a/bb", "a/cc", "bb", "d/1/x", "d/2/x", "$a/bb"];

/// Where wills are published.
pub(crate) const WILL_TOPICS: [&str; 2] = ["w/1", "w/2"];

/// What clients subscribe to.
pub(crate) const FILTERS: [&str; 11] = [
    "a", "a/bb", "a/+", "a/#", "+/bb", "#", "d/1/#", "d/+/x", "bb", "w/#", "$a/#",
];

/// A placement rule, so that some filters with wildcards live at one shard.
pub(crate) const PLACEMENT_RULE: &str = "d/{key}/#";

/// Whether a filter matches a topic (MQTT 5.0, 4.7).
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    // MQTT-4.7.2-1
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    for (at, level) in filter.iter().enumerate() {
        match (*level, topic.get(at)) {
            // Matches its parent too.
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (literal, Some(found)) if literal == *found => {}
            _ => return false,
        }
    }
    filter.len() == topic.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic) in [
            ("a", "a"),
            ("a/+", "a/b"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("#", "a/b"),
            ("$a/#", "$a/b"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("a", "a/b"),
            ("a/+", "a"),
            ("+", "a/b"),
            ("#", "$a/b"),
            ("+/b", "$a/b"),
            ("a/b", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn every_topic_is_reached_by_a_filter() {
        for topic in TOPICS.iter().chain(&WILL_TOPICS) {
            assert!(FILTERS.iter().any(|filter| matches(filter, topic)), "{topic}");
        }
    }
}
