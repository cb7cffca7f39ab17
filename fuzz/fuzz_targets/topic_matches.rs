//! Compares the matcher of topic filters with one that was written in another way.

#![no_main]

#[path = "../../mqtt/tests/topics/character_matcher.rs"]
mod character_matcher;

use character_matcher::matches_by_characters;
use freshet_mqtt::{TopicFilter, TopicName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let Some((filter, name)) = input.split_once('\n') else {
        return;
    };
    let (Ok(filter), Ok(name)) = (TopicFilter::parse(filter), TopicName::parse(name)) else {
        return;
    };
    assert_eq!(filter.levels().count(), filter.level_count());
    assert_eq!(name.levels().count(), name.level_count());
    if let Some(shared) = filter.shared() {
        assert!(!shared.group.is_empty() && !shared.group.contains(['/', '+', '#']));
        assert!(filter.as_str().ends_with(shared.filter) && !shared.filter.is_empty());
    }
    assert_eq!(
        filter.matches(name),
        matches_by_characters(filter.unshared(), name.as_str()),
        "{filter} {name}"
    );
});
