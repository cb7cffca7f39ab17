//! What stored sessions are charged with.

use proptest::prelude::*;

use super::*;

impl Bench {
    fn bytes(&self) -> u64 {
        self.sessions.bytes() + self.notes.bytes()
    }

    /// What a change is foreseen to add, and adds.
    fn price(&mut self, name: &'static str, change: SessionChange) -> (u64, i64) {
        let changes = [change];
        let foreseen = self.sessions.cost_of(&client(name), &changes, true).whole();
        let before = self.bytes();
        self.update(name, 1, &changes);
        (foreseen, self.bytes().cast_signed() - before.cast_signed())
    }
}

#[test]
fn what_is_charged_is_given_back() {
    let mut b = Bench::default();
    for name in ["c", "d"] {
        b.attach(name, 1, false);
        b.update(
            name,
            1,
            &[
                subscribe("a/+", QoS::AtLeastOnce, &[(T0, 5), (T1, 6)]),
                subscribe("b", QoS::AtMostOnce, &[]),
                advance(T0, 8, &[10, 12]),
                SessionChange::Sending {
                    packet_id: packet(1),
                    shard: T0,
                    position: Position(9),
                    qos: QoS::AtLeastOnce,
                    shared: Some(client("$share/g/a")),
                    message: Some(Box::new(message(Some(9)))),
                },
            ],
        );
        b.sessions.has_packets(&client(name), epoch(1), T1, &mut b.notes);
    }
    assert!(b.sessions.bytes() > 0);
    b.attach("c", 2, true);
    b.sessions.detach(&client("c"), epoch(2), 0, 0, &mut b.notes);
    b.sessions.detach(&client("d"), epoch(1), 0, 0, &mut b.notes);
    assert_eq!((b.sessions.bytes(), b.sessions.len()), (0, 0));
    b.take_notes(T0);
    b.take_notes(T1);
    assert_eq!(b.notes.bytes(), 0);
}

#[test]
fn a_session_and_each_of_its_parts_have_a_price() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    assert_eq!(
        (b.sessions.bytes(), StoredSessions::cost_of_new(&client("c"))),
        (385, SessionCost::of_row(385))
    );
    let kept = message(None);
    let exchange = 10 + kept.charged_bytes() as u64;
    let sending = SessionChange::Sending {
        packet_id: packet(1),
        shard: T0,
        position: Position(9),
        qos: QoS::AtLeastOnce,
        shared: Some(client("$share/g/a")),
        message: Some(Box::new(kept)),
    };
    let both = [(T0, 5), (T1, 6)];
    let subscription = 3 + 128 + 2 * 48;
    // The first reader of a filter at a shard, and the note that says so there.
    let first = (3 + 256) + (3 + 64);
    let places = 2 * 48 + 2 * first;
    let group = 10 + 64;
    for (change, added, foreseen) in [
        (
            subscribe("a/+", QoS::AtLeastOnce, &both),
            subscription + places,
            subscription + places,
        ),
        (subscribe("a/+", QoS::AtMostOnce, &both), 0, 0),
        // The cursor is there.
        (
            subscribe("b/+", QoS::AtMostOnce, &both[..1]),
            subscription - 48 + first,
            subscription - 48 + first,
        ),
        (advance(T0, 8, &[10, 12]), 2 * 10, 48 + 2 * 10),
        (sending, exchange + 2 * 48 + group, exchange + 2 * 48 + group),
    ] {
        assert_eq!(b.price("c", change), (foreseen, added.cast_signed()));
    }
    let stored = StoredSessions::cost_of_stored(&client("c"), &b.stored("c", 1));
    let of_row = 385 + 2 * subscription - 48 + 3 * 48 + exchange + 3 * 48 + 2 * 10;
    assert_eq!((stored.row, stored.beside), (of_row, 3 * first));
}

#[test]
fn where_an_entry_is_on_its_way_nothing_is_taken_for_known() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    let again = subscribe("a/+", QoS::AtLeastOnce, &[(T0, 5)]);
    let (first, _) = b.price("c", again.clone());
    let gone = SessionChange::Unsubscribe {
        topic_filter: client("a/+"),
    };
    let foreseen =
        |changes: &[SessionChange], is_settled| b.sessions.cost_of(&client("c"), changes, is_settled).whole();
    assert_eq!(foreseen(std::slice::from_ref(&again), true), 0);
    assert_eq!(foreseen(std::slice::from_ref(&again), false), first);
    assert_eq!(foreseen(&[gone, again], true), first);
}

const FILTERS: &[&str] = &["a", "a/+", "devices/42/#", "$share/g/a", "$share/group/devices/+/state"];

fn change() -> impl Strategy<Value = SessionChange> {
    let filter = proptest::sample::select(FILTERS);
    let starts = proptest::collection::btree_map((0..3u16).prop_map(ShardId), 1..9u64, 0..4);
    let subscribed = (filter.clone(), starts).prop_map(|(filter, starts)| {
        let starts: Vec<_> = starts.into_iter().collect();
        subscribe(filter, QoS::AtLeastOnce, &starts)
    });
    let sending = (1..4u16, 1..9u64, proptest::option::of(filter.clone()), any::<bool>());
    let sending = sending.prop_map(|(id, position, shared, has_message)| SessionChange::Sending {
        packet_id: packet(id),
        shard: T0,
        position: Position(position),
        qos: QoS::ExactlyOnce,
        shared: shared.map(client),
        message: has_message.then(|| Box::new(message(None))),
    });
    prop_oneof![
        4 => subscribed,
        1 => filter.prop_map(|filter| SessionChange::Unsubscribe { topic_filter: client(filter) }),
        1 => (0..9u64, proptest::collection::vec(0..20u64, 0..4)).prop_map(|(to, beyond)| advance(T0, to, &beyond)),
        2 => sending,
        1 => (1..4u16).prop_map(|id| SessionChange::Received { packet_id: packet(id) }),
        1 => (1..4u16).prop_map(|id| SessionChange::Completed { packet_id: packet(id) }),
    ]
}

proptest! {
    #[test]
    fn no_change_adds_more_than_is_foreseen_and_a_subscription_hardly_less(
        changes in proptest::collection::vec((any::<bool>(), change()), 1..40),
    ) {
        let mut b = Bench::default();
        b.attach("c", 1, false);
        b.attach("d", 1, false);
        for (is_other, change) in changes {
            let (name, other) = if is_other { ("d", "c") } else { ("c", "d") };
            let is_alone = match &change {
                SessionChange::Subscribe(own) => {
                    let subscriptions = &b.stored(other, 1).subscriptions;
                    !subscriptions.iter().any(|theirs| theirs.topic_filter == own.topic_filter)
                }
                _ => false,
            };
            let (foreseen, added) = b.price(name, change.clone());
            prop_assert!(added <= foreseen.cast_signed(), "{} of {} by {:?}", foreseen, added, change);
            if is_alone {
                // Nobody else reads it.
                prop_assert!(foreseen * 10 <= added.cast_unsigned() * 13, "{} of {} by {:?}", foreseen, added, change);
            }
        }
    }

    #[test]
    fn a_session_that_a_proxy_has_kept_costs_no_more_than_is_foreseen(
        changes in proptest::collection::vec(change(), 1..20),
    ) {
        let mut b = Bench::default();
        b.attach("c", 1, false);
        b.update("c", 1, &changes);
        let kept = b.stored("c", 1).clone();
        let foreseen = StoredSessions::cost_of_stored(&client("c"), &kept).whole();
        let mut b = Bench::default();
        b.sessions.register(&client("c"), epoch(1), 60, Some(&kept), &mut b.notes);
        prop_assert!(b.bytes() <= foreseen, "{} of {}", foreseen, b.bytes());
        prop_assert!(foreseen * 10 <= b.bytes() * 13, "{} of {}", foreseen, b.bytes());
    }
}
