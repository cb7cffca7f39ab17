//! The matcher of topic filters, compared with one that was written in another way, and what is said of two filters.

#![allow(clippy::expect_used, reason = "every item of this crate is part of a test")]

#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod character_matcher;
mod relations;

use character_matcher::matches_by_characters;
use freshet_mqtt::{TopicFilter, TopicName};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Few letters, so that a good part of the pairs match.
    #[test]
    fn a_filter_matches_what_the_other_matcher_says(
        filter in "\\$?([ab]?/|\\+/){0,4}([ab]?|\\+|#)", name in "\\$?([ab]?/){0,4}[ab]?"
    ) {
        prop_assume!(!filter.is_empty() && !name.is_empty());
        let filter = match TopicFilter::parse(&filter) {
            Ok(filter) => filter,
            // `$+/a` and the like.
            Err(_) => return Ok(()),
        };
        let name = TopicName::parse(&name).expect("the pattern has no wildcards");
        prop_assert_eq!(filter.matches(name), matches_by_characters(filter.as_str(), name.as_str()));
    }

    #[test]
    fn a_name_is_matched_by_every_filter_made_from_it(
        levels in prop::collection::vec("[a-z]{0,3}", 1..6), wildcards in any::<u8>(), cut in 0..6_usize
    ) {
        let name = levels.join("/");
        prop_assume!(!name.is_empty());
        let mut filter: Vec<&str> = levels.iter().map(String::as_str).collect();
        for (index, level) in filter.iter_mut().enumerate() {
            if wildcards & (1 << index) != 0 {
                *level = "+";
            }
        }
        if cut < levels.len() {
            filter.truncate(cut);
            filter.push("#");
        }
        let filter = filter.join("/");
        let filter = TopicFilter::parse(&filter).expect("made from a valid name");
        prop_assert!(filter.matches(TopicName::parse(&name).expect("no wildcards")), "{filter} {name}");
    }
}
