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

/// What clients subscribe to together. Groups of one filter have queues of their own; the last is another way to name one.
pub(crate) const SHARED_FILTERS: [&str; 6] = [
    "$share/g/a/#",
    "$share/g/bb",
    "$share/h/a/bb",
    "$share/h/#",
    "$share/g/d/1/#",
    "$queue/a/+",
];

/// The topic filter of a shared subscription; none: it is a filter like others.
pub(crate) fn shared_filter(filter: &str) -> Option<&str> {
    if let Some(queue) = filter.strip_prefix("$queue/") {
        return Some(queue);
    }
    let (_name, shared) = filter.strip_prefix("$share/")?.split_once('/')?;
    Some(shared)
}

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

    #[test]
    fn a_shared_subscription_matches_by_the_filter_behind_its_name_alone() {
        assert_eq!(shared_filter("$share/g/a/#"), Some("a/#"));
        assert_eq!(shared_filter("$queue/a/+"), Some("a/+"));
        assert_eq!(shared_filter("a/#"), None);
        for filter in SHARED_FILTERS {
            assert!(shared_filter(filter).is_some());
            assert!(!TOPICS.iter().any(|topic| matches(filter, topic)), "{filter}");
        }
    }
}
