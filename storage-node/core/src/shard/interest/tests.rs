//! Registration and matching, against the plain matching rule of the codec.

use freshet_storage_contract::ClusterUid;
use proptest::prelude::*;

use super::*;

const ROOM: u64 = 1 << 30;
const SHARDS: u16 = 4;

struct Bench {
    shards: Vec<Interest>,
    common: CommonFilters,
    placement: Placement,
    /// By shard, then by slot.
    peers: Vec<Vec<PeerFilters>>,
}

fn bench() -> Bench {
    let placement = Placement::new(&ClusterUid("u".to_owned()), SHARDS, &["d/{key}/#".to_owned()]).unwrap();
    Bench {
        shards: (0..SHARDS)
            .map(|shard| Interest::new(ShardId(shard), KeyedHash::new(7)))
            .collect(),
        common: CommonFilters::new(KeyedHash::new(7)),
        placement,
        peers: (0..SHARDS).map(|_| (0..3).map(PeerFilters::new).collect()).collect(),
    }
}

impl Bench {
    fn add_at(&mut self, shard: u16, slot: u32, id: u32, filter: &str, room: u64) -> Result<(), NotAdded> {
        self.shards[usize::from(shard)].add(
            &mut self.peers[usize::from(shard)][slot as usize],
            (FilterId(id), filter.as_bytes()),
            &self.placement,
            &mut self.common,
            room,
        )
    }

    fn remove_at(&mut self, shard: u16, slot: u32, id: u32) {
        self.shards[usize::from(shard)].remove(
            &mut self.peers[usize::from(shard)][slot as usize],
            FilterId(id),
            &mut self.common,
        );
    }

    fn remove_some_at(&mut self, shard: u16, slot: u32, count: usize) -> bool {
        let filters = &mut self.peers[usize::from(shard)][slot as usize];
        self.shards[usize::from(shard)].remove_some(filters, count, &mut self.common)
    }

    fn find_at(&mut self, shard: u16, topic: &str) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        self.shards[usize::from(shard)].find(topic.as_bytes(), &mut self.common, &mut found);
        found.iter().map(|s| (s.slot, s.filter_id.0)).collect()
    }

    fn add(&mut self, slot: u32, id: u32, filter: &str) -> Result<(), NotAdded> {
        self.add_at(0, slot, id, filter, ROOM)
    }

    fn remove(&mut self, slot: u32, id: u32) {
        self.remove_at(0, slot, id);
    }

    fn find(&mut self, topic: &str) -> Vec<(u32, u32)> {
        self.find_at(0, topic)
    }

    fn bytes(&self) -> u64 {
        self.shards.iter().map(Interest::bytes).sum::<u64>() + self.common.bytes()
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
    assert_eq!(b.bytes(), 0);
}

#[test]
fn a_filter_beyond_the_bound_is_missing_until_it_is_removed() {
    for filter in ["a/+", "a/x"] {
        let mut b = bench();
        assert_eq!(b.add_at(0, 0, 1, filter, 10), Err(NotAdded::Full));
        assert!(b.peers[0][0].is_incomplete());
        b.remove(0, 1);
        assert!(!b.peers[0][0].is_incomplete());
        assert_eq!(b.find("a/x"), []);
    }
}

#[test]
fn filters_are_counted_by_where_they_are_registered() {
    let mut b = bench();
    for (id, filter) in [(1, "x"), (2, "d/7/#"), (3, "d/+/a"), (4, "#")] {
        b.add(0, id, filter).unwrap();
    }
    let counts = |b: &Bench| (b.shards[0].one_shard(), b.shards[0].all_shards());
    assert_eq!(counts(&b), (2, 2));
    while !b.remove_some_at(0, 0, 3) {}
    assert_eq!((counts(&b), b.bytes()), ((0, 0), 0));
    assert!(b.peers[0][0].is_empty());
}

#[test]
fn a_filter_of_every_shard_acts_where_it_was_named_and_is_kept_once() {
    let mut b = bench();
    b.add_at(0, 1, 7, "a/+", ROOM).unwrap();
    let bytes = b.bytes();
    assert_eq!((b.find_at(0, "a/b"), b.find_at(1, "a/b")), (vec![(1, 7)], vec![]));
    // It is there: it needs no room.
    b.add_at(1, 1, 7, "a/+", 0).unwrap();
    assert_eq!(b.bytes(), bytes);
    b.remove_at(0, 1, 7);
    assert_eq!((b.find_at(0, "a/b"), b.find_at(1, "a/b")), (vec![], vec![(1, 7)]));
    b.remove_at(0, 1, 7);
    assert_eq!(b.bytes(), bytes);
    b.remove_at(1, 1, 7);
    assert_eq!((b.bytes(), b.common.node_count()), (0, 0));
}

#[test]
fn an_id_that_is_given_to_another_filter_is_so_at_each_shard_when_it_is_told() {
    let mut b = bench();
    for shard in [0, 1, 2] {
        b.add_at(shard, 1, 7, "a/+", ROOM).unwrap();
    }
    b.add_at(0, 1, 7, "b/#", ROOM).unwrap();
    b.add_at(2, 1, 7, "c", ROOM).unwrap();
    let acts = |b: &mut Bench, shard| ["a/x", "b/x", "c"].map(|topic| !b.find_at(shard, topic).is_empty());
    assert_eq!(acts(&mut b, 0), [false, true, false]);
    assert_eq!(acts(&mut b, 1), [true, false, false]);
    assert_eq!(acts(&mut b, 2)[..2], [false, false]);
    b.add_at(1, 1, 7, "b/#", ROOM).unwrap();
    b.remove_at(0, 1, 7);
    assert_eq!(acts(&mut b, 0), [false, false, false]);
    assert_eq!(acts(&mut b, 1), [false, true, false]);
}

#[test]
fn what_a_proxy_has_of_every_shard_goes_a_part_at_a_time() {
    let mut b = bench();
    for id in 0..100 {
        b.add_at(0, 1, id, &format!("a/{id}/+"), ROOM).unwrap();
        b.add_at(0, 2, id, &format!("a/{id}/+"), ROOM).unwrap();
        b.add_at(1, 1, id, &format!("a/{id}/+"), ROOM).unwrap();
    }
    let mut parts = 1;
    while !b.remove_some_at(0, 1, 30) {
        parts += 1;
    }
    assert!((7..=10).contains(&parts), "300 entries, 30 at a time: {parts}");
    assert_eq!(
        (b.find_at(0, "a/9/x"), b.find_at(1, "a/9/x")),
        (vec![(2, 9)], vec![(1, 9)])
    );
    assert!(b.remove_some_at(1, 1, usize::MAX));
    assert!(b.remove_some_at(0, 2, usize::MAX));
    assert_eq!((b.bytes(), b.common.node_count()), (0, 0));
}

#[test]
fn a_shard_that_begins_anew_has_none() {
    let mut b = bench();
    b.add_at(0, 1, 1, "a/+", ROOM).unwrap();
    b.add_at(1, 1, 1, "a/+", ROOM).unwrap();
    b.common.forget_shard(ShardId(0));
    assert_eq!((b.find_at(0, "a/b"), b.find_at(1, "a/b")), (vec![], vec![(1, 1)]));
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
        changes in prop::collection::vec((0..SHARDS, 0_u32..3, 0_u32..12, prop::option::of(filter())), 0..120),
        topics in prop::collection::vec("(a|b|\\$x|)(/(a|b|)){0,4}", 1..8),
    ) {
        let mut b = bench();
        let mut model = std::collections::BTreeMap::new();
        for (shard, slot, id, change) in changes {
            match change {
                Some(filter) => {
                    b.add_at(shard, slot, id, &filter, ROOM).unwrap();
                    model.insert((shard, slot, id), filter);
                }
                None => {
                    b.remove_at(shard, slot, id);
                    model.remove(&(shard, slot, id));
                }
            }
        }
        for topic in topics.iter().filter(|t| !t.is_empty()) {
            for at in 0..SHARDS {
                let expected: Vec<_> = model
                    .iter()
                    .filter(|((shard, ..), filter)| *shard == at && freshet_mqtt::topic_matches(filter, topic))
                    .map(|((_, slot, id), _)| (*slot, *id))
                    .collect();
                prop_assert_eq!(b.find_at(at, topic), expected);
            }
        }
        for shard in 0..SHARDS {
            for slot in 0..3 {
                b.remove_some_at(shard, slot, usize::MAX);
            }
            prop_assert_eq!(b.shards[usize::from(shard)].index.node_count(), 0);
        }
        prop_assert_eq!(b.bytes(), 0);
        prop_assert_eq!(b.common.node_count(), 0);
    }
}
