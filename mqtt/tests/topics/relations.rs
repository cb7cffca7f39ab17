//! Which filters cover and overlap each other, compared with all short topic names.

use freshet_mqtt::{TopicFilter, filter_covers, filters_overlap, topic_matches};
use proptest::prelude::*;

/// Levels of the filters below, and one that none of them names.
const LEVELS: [&str; 4] = ["a", "b", "", "other"];
/// One more level than the filters have: enough to tell `#` from anything else.
const MOST_LEVELS: u32 = 5;

/// Every topic name of these levels; with `$` in front as well.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    for levels in 1..=MOST_LEVELS {
        for number in 0..LEVELS.len().pow(levels) {
            let level = |at: u32| LEVELS[number / LEVELS.len().pow(at) % LEVELS.len()];
            let name = (0..levels).map(level).collect::<Vec<_>>().join("/");
            names.push(format!("${name}"));
            names.push(name);
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Topic filters of these levels, some with `$` in front.
fn filters() -> impl Strategy<Value = String> {
    "\\$?([ab]?/|\\+/){0,3}([ab]?|\\+|#)".prop_map(|text| {
        // No filter are the empty one, and a wildcard behind the `$`.
        match text.strip_prefix('$') {
            Some(rest) if rest.starts_with(['+', '#']) => rest.to_owned(),
            _ if text.is_empty() => "a".to_owned(),
            _ => text,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn relations_are_those_of_the_names_that_match(filter in filters(), other in filters()) {
        prop_assert!(TopicFilter::parse(&filter).is_ok() && TopicFilter::parse(&other).is_ok());
        let names = names();
        let matching = |filter: &str| -> Vec<bool> { names.iter().map(|name| topic_matches(filter, name)).collect() };
        let (of_filter, of_other) = (matching(&filter), matching(&other));
        let pairs = || of_filter.iter().zip(&of_other);
        prop_assert_eq!(filter_covers(&filter, &other), pairs().all(|(filter, other)| *filter || !*other));
        prop_assert_eq!(filters_overlap(&filter, &other), pairs().any(|(filter, other)| *filter && *other));
    }
}
