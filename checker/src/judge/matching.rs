//! What matches what: the judge's own, for it is compared with the server's and not shared.

/// Whether a filter matches a topic (MQTT 5.0, 4.7).
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        // Matches its parent, too.
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn levels_are_compared_one_by_one() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("#", "a/b"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("a/b", "a"),
            ("a/+", "a/b/c"),
            ("a/+", "a"),
            ("a", "a/b"),
            ("b/#", "a/b"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
