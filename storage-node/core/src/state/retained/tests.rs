//! Reads against the plain matching rule, and what limits and expiry see.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::state::tests::message;

fn set(topics: &[&str]) -> RetainedSet {
    let mut set = RetainedSet::default();
    for (position, topic) in (1..).zip(topics) {
        set.put(&message(topic, "x"), Position(position), 0);
    }
    set
}

fn topics(messages: &[RetainedMessage]) -> Vec<String> {
    messages
        .iter()
        .map(|m| String::from_utf8(m.message.topic_name.to_vec()).unwrap())
        .collect()
}

fn read_all(set: &RetainedSet, filter: &str, max_bytes: usize) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (messages, end) = set.read(filter.as_bytes(), after.as_ref(), Position(u64::MAX), max_bytes, 0);
        all.extend(topics(&messages));
        match end {
            ReadEnd::Done => return all,
            ReadEnd::Behind(name) => {
                assert!(
                    after.is_none_or(|before| before < name),
                    "a read that goes on gets further"
                );
                after = Some(name);
            }
        }
    }
}

#[test]
fn an_empty_payload_deletes() {
    let mut set = set(&["a", "b"]);
    set.put(&message("a", ""), Position(3), 0);
    assert_eq!(read_all(&set, "#", 1_000), ["b"]);
    assert_eq!(set.usage().messages, 1);
    set.put(&message("b", ""), Position(4), 0);
    assert_eq!(set.usage(), RetainedUsage::default());
}

#[test]
fn a_replacement_does_not_count_twice() {
    let mut set = set(&["a"]);
    let before = set.usage();
    set.put(&message("a", "y"), Position(2), 0);
    assert_eq!(set.usage(), before);
    assert_eq!(set.usage_of(b"a"), before);
}

#[test]
fn messages_expire_in_the_time_of_the_log() {
    let mut set = RetainedSet::default();
    let mut expiring = message("a", "x");
    expiring.message_expiry_interval_s = Some(10);
    set.put(&expiring, Position(1), 5_000);
    let remaining = |now_ms| {
        let (messages, _) = set.read(b"a", None, Position(1), 100, now_ms);
        messages.first().and_then(|m| m.message.message_expiry_interval_s)
    };
    assert_eq!(remaining(5_000), Some(10));
    assert_eq!(remaining(14_200), Some(1), "begun seconds count in full");
    assert_eq!(remaining(15_000), None, "expired, though nothing has removed it yet");
    assert_eq!(set.next_expiry(), Some(15_000));
    assert_eq!(set.expire(14_999, 9), 0);
    assert_eq!(set.expire(15_000, 9), 1);
    assert_eq!((set.next_expiry(), set.usage().messages), (None, 0));
}

#[test]
fn a_message_that_was_replaced_does_not_expire() {
    let mut set = RetainedSet::default();
    let mut expiring = message("a", "x");
    expiring.message_expiry_interval_s = Some(1);
    set.put(&expiring, Position(1), 0);
    set.put(&message("a", "y"), Position(2), 0);
    assert_eq!(set.expire(u64::MAX, 9), 0);
    assert_eq!(read_all(&set, "a", 100), ["a"]);
}

#[test]
fn expiry_is_paced() {
    let mut set = RetainedSet::default();
    for topic in ["a", "b", "c"] {
        let mut expiring = message(topic, "x");
        expiring.message_expiry_interval_s = Some(1);
        set.put(&expiring, Position(1), 0);
    }
    assert_eq!(set.expire(1_000, 2), 2);
    assert_eq!(set.expire(1_000, 2), 1);
}

#[test]
fn what_was_stored_later_is_passed_over() {
    let set = set(&["a", "b", "c"]);
    let (messages, end) = set.read(b"#", None, Position(2), 1_000_000, 0);
    assert_eq!(topics(&messages), ["a", "b"]);
    assert_eq!(end, ReadEnd::Done);
}

#[test]
fn a_chunk_holds_at_least_one_message_and_no_more_bytes_than_asked_for() {
    let set = set(&["a", "b", "c"]);
    let size = message("a", "x").charged_bytes();
    let (messages, end) = set.read(b"#", None, Position(9), 1, 0);
    assert_eq!(
        (topics(&messages), end),
        (vec!["a".to_owned()], ReadEnd::Behind(Bytes::from_static(b"a")))
    );
    let (messages, _) = set.read(b"#", None, Position(9), 2 * size, 0);
    assert_eq!(messages.len(), 2);
    assert_eq!(read_all(&set, "#", 1), ["a", "b", "c"]);
}

#[test]
fn a_long_search_ends_early_and_goes_on() {
    let mut set = RetainedSet::default();
    for device in 0..KEYS_PER_READ + 10 {
        set.put(&message(&format!("d/{device:05}/a"), "x"), Position(1), 0);
    }
    set.put(&message("d/99999/b", "x"), Position(1), 0);
    let (messages, end) = set.read(b"d/+/b", None, Position(9), 1_000, 0);
    assert!(messages.is_empty());
    assert!(matches!(end, ReadEnd::Behind(_)));
    assert_eq!(read_all(&set, "d/+/b", 1_000), ["d/99999/b"]);
}

#[test]
fn a_search_passes_over_what_cannot_match() {
    let mut set = RetainedSet::default();
    for n in 0..3 * KEYS_PER_READ {
        set.put(&message(&format!("d/1/x/{n:06}"), "x"), Position(1), 0);
    }
    set.put(&message("d/2/b", "x"), Position(1), 0);
    let (messages, end) = set.read(b"d/+/b", None, Position(9), 1_000, 0);
    assert_eq!((topics(&messages), end), (vec!["d/2/b".to_owned()], ReadEnd::Done));
}

#[test]
fn a_stored_message_does_not_keep_the_frame_that_brought_it() {
    let frame = Bytes::from(vec![b'a'; 4_096]);
    let mut brought = message("t", "");
    brought.payload = frame.slice(10..12);
    let mut set = RetainedSet::default();
    set.put(&brought, Position(1), 0);
    drop(brought);
    assert!(frame.is_unique());
}

proptest! {
    #[test]
    fn a_read_finds_what_the_rule_says(
        names in prop::collection::btree_set("(a|b|ab|a-|\\$x|)(/(a|b|ab|a!|)){0,4}", 0..40),
        filter in "(a|b|ab|\\$x|\\+|)(/(a|b|ab|\\+|)){0,3}(/#)?|#",
        max_bytes in 1_usize..600,
    ) {
        let mut set = RetainedSet::default();
        let mut model = BTreeMap::new();
        for (position, name) in (1..).zip(names.iter().filter(|n| !n.is_empty())) {
            set.put(&message(name, "x"), Position(position), 0);
            model.insert(name.clone(), ());
        }
        prop_assume!(!filter.is_empty());
        let expected: Vec<_> =
            model.keys().filter(|name| freshet_mqtt::topic_matches(&filter, name)).cloned().collect();
        prop_assert_eq!(read_all(&set, &filter, max_bytes), expected);
    }
}
