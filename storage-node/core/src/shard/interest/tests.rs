//! Registration and matching, against the plain matching rule of the codec.

use freshet_storage_contract::ClusterUid;
use proptest::prelude::*;

use super::*;

const ROOM: u64 = 1 << 30;

struct Bench {
    interest: Interest,
    placement: Placement,
    peers: Vec<PeerFilters>,
}

fn bench() -> Bench {
    let placement = Placement::new(&ClusterUid("u".to_owned()), 4, &["d/{key}/#".to_owned()]).unwrap();
    let peers = (0..3).map(|_| PeerFilters::default()).collect();
    Bench {
        interest: Interest::new(KeyedHash::new(7)),
        placement,
        peers,
    }
}

impl Bench {
    fn add(&mut self, slot: u32, id: u32, filter: &str) -> Result<(), NotAdded> {
        let filters = &mut self.peers[slot as usize];
        self.interest.add(
            slot,
            filters,
            FilterId(id),
            filter.as_bytes(),
            &self.placement,
            ROOM - self.interest.bytes,
        )
    }

    fn remove(&mut self, slot: u32, id: u32) {
        self.interest.remove(slot, &mut self.peers[slot as usize], FilterId(id));
    }

    fn find(&mut self, topic: &str) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        self.interest.find(topic.as_bytes(), &mut found);
        found.iter().map(|s| (s.slot, s.filter_id.0)).collect()
    }
}

#[test]
fn all_filters_that_match_are_named_in_ascending_order() {
    let mut b = bench();
    for (slot, id, filter) in [
        (1, 9, "a/b"),
        (1, 2, "a/+"),
        (0, 5, "#"),
        (1, 4, "a/b/#"),
        (1, 7, "b/#"),
    ] {
        b.add(slot, id, filter).unwrap();
    }
    assert_eq!(b.find("a/b"), [(0, 5), (1, 2), (1, 4), (1, 9)]);
}

#[test]
#[cfg_attr(false, shows("5.0:4.7.2-1", "3.1.1:4.7.2-1"))]
fn wildcards_of_the_first_level_do_not_match_dollar_topics() {
    let mut b = bench();
    for (id, filter) in [(1, "#"), (2, "+/a"), (3, "$SYS/#"), (4, "$SYS/+")] {
        b.add(0, id, filter).unwrap();
    }
    assert_eq!(b.find("$SYS/a"), [(0, 3), (0, 4)]);
    assert_eq!(b.find("x/a"), [(0, 1), (0, 2)]);
}

#[test]
fn two_ids_of_a_proxy_may_stand_for_the_same_filter() {
    let mut b = bench();
    b.add(0, 1, "a").unwrap();
    b.add(0, 2, "a").unwrap();
    b.remove(0, 1);
    assert_eq!(b.find("a"), [(0, 2)]);
}

#[test]
fn an_unknown_id_is_passed_over_and_a_repeated_one_is_replaced() {
    let mut b = bench();
    b.remove(0, 77);
    b.add(0, 1, "a").unwrap();
    b.add(0, 1, "b/+").unwrap();
    assert_eq!(b.find("a"), []);
    assert_eq!(b.find("b/c"), [(0, 1)]);
}

#[test]
fn malformed_filters_are_refused() {
    let mut b = bench();
    for filter in ["", "a/#/b", "a#", "+a/b", "a/b+", "#/"] {
        assert_eq!(b.add(0, 1, filter), Err(NotAdded::Malformed), "{filter}");
    }
    assert_eq!(b.add(0, 1, &"a".repeat(65_536)), Err(NotAdded::Malformed));
    assert_eq!(b.interest.bytes(), 0);
}

#[test]
fn a_filter_beyond_the_bound_is_missing_until_it_is_removed() {
    let mut b = bench();
    let filters = &mut b.peers[0];
    let full = b.interest.add(0, filters, FilterId(1), b"a/+", &b.placement, 10);
    assert_eq!(full, Err(NotAdded::Full));
    assert!(filters.is_incomplete());
    b.interest.remove(0, filters, FilterId(1));
    assert!(!filters.is_incomplete());
    assert_eq!(b.find("a/x"), []);
}

#[test]
fn filters_are_counted_by_where_they_are_registered() {
    let mut b = bench();
    for (id, filter) in [(1, "x"), (2, "d/7/#"), (3, "d/+/a"), (4, "#")] {
        b.add(0, id, filter).unwrap();
    }
    assert_eq!((b.interest.one_shard(), b.interest.all_shards()), (2, 2));
    while !b.interest.remove_some(0, &mut b.peers[0], 3) {}
    assert_eq!(
        (b.interest.one_shard(), b.interest.all_shards(), b.interest.bytes()),
        (0, 0, 0)
    );
}

#[test]
fn a_topic_of_the_deepest_kind_is_matched_without_recursion() {
    let mut b = bench();
    let topic = "/".repeat(65_535);
    b.add(0, 1, &format!("{}#", "+/".repeat(32_000))).unwrap();
    b.add(0, 2, &topic).unwrap();
    assert_eq!(b.find(&topic), [(0, 1), (0, 2)]);
}

fn filter() -> impl Strategy<Value = String> {
    "(a|b|\\$x|\\+|)(/(a|b|\\+|)){0,3}(/#)?|#".prop_filter("not empty", |f| !f.is_empty())
}

proptest! {
    #[test]
    #[cfg_attr(false, shows("5.0:3.3.2-3", "3.1.1:3.3.2-3"))]
    fn what_is_found_is_what_the_rule_says(
        changes in prop::collection::vec((0_u32..3, 0_u32..12, prop::option::of(filter())), 0..60),
        topics in prop::collection::vec("(a|b|\\$x|)(/(a|b|)){0,4}", 1..8),
    ) {
        let mut b = bench();
        let mut model = std::collections::BTreeMap::new();
        for (slot, id, change) in changes {
            match change {
                Some(filter) => {
                    b.add(slot, id, &filter).unwrap();
                    model.insert((slot, id), filter);
                }
                None => {
                    b.remove(slot, id);
                    model.remove(&(slot, id));
                }
            }
        }
        for topic in topics.iter().filter(|t| !t.is_empty()) {
            let expected: Vec<_> = model
                .iter()
                .filter(|(_, filter)| freshet_mqtt::topic_matches(filter, topic))
                .map(|(key, _)| *key)
                .collect();
            prop_assert_eq!(b.find(topic), expected);
        }
        for slot in 0..3 {
            b.interest.remove_some(slot, &mut b.peers[slot as usize], usize::MAX);
        }
        prop_assert_eq!(b.interest.bytes(), 0);
        prop_assert_eq!(b.interest.index.node_count(), 0);
    }
}
