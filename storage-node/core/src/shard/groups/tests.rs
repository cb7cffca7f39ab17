//! Choosing, leasing and settling by themselves.

use freshet_config::QueueLimits;
use freshet_storage_contract::{Message, PublisherId, QoS};

use super::*;
use crate::hash::KeyedHash;
use crate::log::{Command, ENTRY_VERSION, Entry, KnownBy, Publish};
use crate::state::State;

const NAME: Bytes = Bytes::from_static(b"$share/g/a");
const ID: FilterId = FilterId(1);

fn peer(slot: u32) -> PeerKey {
    PeerKey { slot, generation: 0 }
}

fn part(strategy: SharedStrategy, members: u32, window: u32) -> SharedGroup {
    SharedGroup {
        filter_id: ID,
        share_name: Bytes::from_static(b"g"),
        topic_filter: Bytes::from_static(b"a"),
        strategy,
        members,
        window,
    }
}

/// A state with one group and messages at positions 2 to `last`.
fn state(last: u64) -> State {
    let mut state = State::new(KeyedHash::new(1));
    let share = Command::ShareGroup {
        group: NAME,
        is_live: true,
    };
    let mut apply = |position, command| {
        let entry = Entry {
            version: ENTRY_VERSION,
            log_time_ms: 0,
            command,
        };
        let matched = state.queues.find(b"a");
        state.apply(Position(position), &entry);
        matched
    };
    let mut matched = apply(1, share);
    for position in 2..=last {
        let message = Message {
            topic_name: Bytes::from_static(b"a"),
            payload: Bytes::new(),
            qos: QoS::AtLeastOnce,
            retain: false,
            publisher: PublisherId(0),
            message_expiry_interval_s: None,
            forwarded_properties: Bytes::new(),
            exactly_once: None,
        };
        let publish = Publish {
            message,
            known_by: KnownBy::Nothing,
            matched,
            limits: QueueLimits::default(),
        };
        matched = apply(position, Command::Publish(Box::new(publish)));
    }
    state
}

fn groups(state: &State, parts: &[(u32, u32, u32)], strategy: SharedStrategy) -> (Groups, GroupAt) {
    let mut groups = Groups::default();
    let mut at = None;
    for (slot, members, window) in parts {
        at = Some(groups.set_part(peer(*slot), &NAME, &part(strategy, *members, *window)));
    }
    let at = at.unwrap();
    groups.bind(at, state.queues.group(&NAME).unwrap());
    (groups, at)
}

/// Gives up to `count` messages; the proxies that got them.
fn give(groups: &mut Groups, at: GroupAt, state: &State, count: usize) -> Vec<(u32, Lease)> {
    let mut given = Vec::new();
    while given.len() < count
        && let Some(position) = groups.next(at, &state.queues)
        && let Some(chosen) = groups.choose(at, Part::has_window)
    {
        let slot = groups.part(at, chosen).unwrap().peer.slot;
        given.push((slot, groups.lease(at, chosen, position).unwrap()));
    }
    given
}

fn slots(given: &[(u32, Lease)]) -> Vec<u32> {
    given.iter().map(|(slot, _)| *slot).collect()
}

#[test]
fn proxies_take_turns_as_often_as_they_have_members() {
    let state = state(13);
    let (mut groups, at) = groups(&state, &[(0, 1, 100), (1, 3, 100)], SharedStrategy::RoundRobin);
    let given = give(&mut groups, at, &state, 12);
    let positions: Vec<u64> = given.iter().map(|(_, lease)| lease.position.0).collect();
    assert_eq!(positions, (2..=13).collect::<Vec<_>>());
    assert_eq!(given.iter().filter(|(slot, _)| *slot == 0).count(), 3);
    for four in given.chunks(4) {
        assert_eq!(four.iter().filter(|(slot, _)| *slot == 0).count(), 1, "{given:?}");
    }
}

#[test]
fn the_proxy_with_the_fewest_messages_for_its_members_is_next() {
    let state = state(20);
    let (mut groups, at) = groups(&state, &[(0, 1, 100), (1, 2, 100)], SharedStrategy::LeastInflight);
    let given = give(&mut groups, at, &state, 6);
    assert_eq!(given.iter().filter(|(slot, _)| *slot == 0).count(), 2);
    let of_0: Vec<_> = given
        .iter()
        .filter(|(slot, _)| *slot == 0)
        .map(|(_, lease)| (*lease, Settlement::Done))
        .collect();
    groups.settle(at, peer(0), &of_0);
    assert_eq!(slots(&give(&mut groups, at, &state, 2)), [0, 0]);
}

#[test]
fn a_proxy_whose_window_is_full_is_passed_over() {
    let state = state(20);
    let (mut groups, at) = groups(&state, &[(0, 1, 2), (1, 1, 3)], SharedStrategy::RoundRobin);
    let given = give(&mut groups, at, &state, 100);
    assert_eq!(given.len(), 5);
    assert_eq!(groups.leases(), 5);
    groups.settle(at, peer(0), &[(given[0].1, Settlement::Returned)]);
    let again = give(&mut groups, at, &state, 100);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1.position, given[0].1.position, "what came back goes first");
    assert!(again[0].1.number > given[4].1.number);
}

#[test]
fn a_lease_is_settled_once_and_by_who_has_it() {
    let state = state(3);
    let (mut groups, at) = groups(&state, &[(0, 1, 9), (1, 1, 9)], SharedStrategy::RoundRobin);
    let given = give(&mut groups, at, &state, 2);
    let (slot, lease) = given[0];
    let other = peer(1 - slot);
    assert!(groups.settle(at, other, &[(lease, Settlement::Done)]).done.is_empty());
    let wrong = Lease { number: 99, ..lease };
    assert!(
        groups
            .settle(at, peer(slot), &[(wrong, Settlement::Done)])
            .done
            .is_empty()
    );
    let twice = [(lease, Settlement::Done), (lease, Settlement::Returned)];
    let settled = groups.settle(at, peer(slot), &twice);
    assert_eq!((settled.done, settled.returned), (vec![lease.position], 0));
    assert_eq!(groups.leases(), 1);
}

#[test]
fn what_a_proxy_had_goes_to_others_in_order_when_its_members_have_gone() {
    let state = state(6);
    let (mut groups, at) = groups(&state, &[(0, 1, 9), (1, 1, 9)], SharedStrategy::RoundRobin);
    let given = give(&mut groups, at, &state, 4);
    let mut of_0: Vec<_> = given.iter().filter(|(s, _)| *s == 0).map(|(_, l)| l.position).collect();
    assert_eq!(groups.remove_part(at, peer(0), ID), (2, None));
    of_0.push(Position(6));
    let rest = give(&mut groups, at, &state, 9);
    assert_eq!(slots(&rest), [1, 1, 1]);
    assert_eq!(rest.iter().map(|(_, l)| l.position).collect::<Vec<_>>(), of_0);
    let (returned, gone) = groups.remove_part(at, peer(1), ID);
    assert_eq!((returned, gone), (5, Some(NAME)));
    assert_eq!((groups.len(), groups.leases(), groups.bytes()), (0, 0, 0));
}
