//! What stored sessions are charged with.

use super::*;

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
        (385, 385)
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
    // A cursor and a first reader of the filter at each of two shards.
    let places = 2 * 48 + 2 * (3 + 256);
    for (change, added, foreseen) in [
        (
            subscribe("a/+", QoS::AtLeastOnce, &both),
            subscription + places,
            2 * subscription,
        ),
        (subscribe("a/+", QoS::AtMostOnce, &both), 0, 2 * subscription),
        (advance(T0, 8, &[10, 12]), 2 * 10, 48 + 2 * 10),
        (sending, exchange + 2 * 48, exchange + 2 * 48),
    ] {
        let before = b.sessions.bytes();
        let cost = StoredSessions::cost_of(std::slice::from_ref(&change));
        b.update("c", 1, &[change]);
        assert_eq!((b.sessions.bytes() - before, cost), (added, foreseen));
    }
    let stored = StoredSessions::cost_of_stored(&client("c"), b.stored("c", 1));
    assert_eq!(stored, 385 + 2 * subscription + exchange + 3 * 48 + 2 * 10);
}
