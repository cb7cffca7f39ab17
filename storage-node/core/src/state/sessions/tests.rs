//! Stored sessions by themselves: what changes do, and what other shards are told.

mod prices;

use std::collections::BTreeMap;

use freshet_storage_contract::{
    Cursor, Message, OutboundStage, PacketId, Position, PublisherId, QoS, StoredSubscription, SubscriptionOptions,
    SubscriptionStart, Term,
};

use super::*;

const T0: ShardId = ShardId(0);
const T1: ShardId = ShardId(1);

#[derive(Default)]
struct Bench {
    sessions: StoredSessions,
    notes: Effects<Note>,
    log_time_ms: u64,
}

fn client(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn epoch(counter: u64) -> SessionEpoch {
    SessionEpoch { term: Term(1), counter }
}

fn subscribe(filter: &'static str, qos: QoS, starts: &[(ShardId, u64)]) -> SessionChange {
    SessionChange::Subscribe(StoredSubscription {
        topic_filter: client(filter),
        options: SubscriptionOptions::new(qos),
        subscription_identifier: None,
        starts: starts
            .iter()
            .map(|(shard, position)| SubscriptionStart {
                shard: *shard,
                position: Position(*position),
            })
            .collect(),
    })
}

fn advance(shard: ShardId, acknowledged: u64, beyond: &[u64]) -> SessionChange {
    SessionChange::Advance(Cursor {
        shard,
        acknowledged: Position(acknowledged),
        beyond: beyond.iter().copied().map(Position).collect(),
    })
}

fn packet(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn message(lives_s: Option<u32>) -> Message {
    Message {
        topic_name: client("a"),
        payload: Bytes::from(vec![1; 1_000]),
        qos: QoS::ExactlyOnce,
        retain: true,
        publisher: PublisherId(1),
        message_expiry_interval_s: lives_s,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

fn confirm(filter: &'static str, ensured: u64) -> Note {
    Note::Confirm {
        topic_filter: client(filter),
        ensured: Position(ensured),
    }
}

fn dropped(filter: &'static str, ensured: u64) -> Note {
    Note::Drop {
        topic_filter: client(filter),
        ensured: Position(ensured),
    }
}

fn trim(filter: &'static str, through: u64) -> Note {
    Note::Trim {
        filters: vec![(client(filter), Position(through))],
    }
}

impl Bench {
    /// Attaches, and tells the client.
    fn attach(&mut self, name: &'static str, counter: u64, clean_start: bool) -> bool {
        let is_present = self.attach_untold(name, counter, clean_start);
        self.update(name, counter, &[]);
        is_present
    }

    fn attach_untold(&mut self, name: &'static str, counter: u64, clean_start: bool) -> bool {
        self.sessions
            .attach(&client(name), epoch(counter), clean_start, 60, &mut self.notes)
    }

    fn update(&mut self, name: &'static str, counter: u64, changes: &[SessionChange]) -> bool {
        self.sessions.update(
            &client(name),
            epoch(counter),
            changes,
            self.log_time_ms,
            &mut self.notes,
        )
    }

    fn stored(&self, name: &'static str, counter: u64) -> StoredSession {
        let row = self.sessions.rows.get(name.as_bytes()).unwrap();
        assert_eq!(row.epoch, epoch(counter));
        row.stored.clone()
    }

    /// What one shard has been told since the last call.
    fn take_notes(&mut self, shard: ShardId) -> Vec<Note> {
        let notes: Vec<_> = self
            .notes
            .behind(&BTreeMap::new())
            .filter(|(target, ..)| *target == shard)
            .map(|(_, number, note)| (number, note.clone()))
            .collect();
        if let Some((last, _)) = notes.last() {
            self.notes.confirm(shard, *last);
        }
        notes.into_iter().map(|(_, note)| note).collect()
    }
}

#[test]
fn a_session_is_found_again_until_it_has_expired() {
    let mut b = Bench::default();
    assert!(!b.attach("c", 1, false));
    b.sessions.detach(&client("c"), epoch(1), 60, 1_000, &mut b.notes);
    assert_eq!((b.sessions.offline(), b.sessions.next_end()), (1, Some(61_000)));
    assert!(b.attach("c", 2, false));
    assert_eq!((b.sessions.offline(), b.sessions.next_end()), (0, None));
    assert_eq!(
        b.stored("c", 2).generation,
        epoch(1),
        "taking it over does not begin it anew"
    );
    b.sessions.detach(&client("c"), epoch(2), 60, 2_000, &mut b.notes);
    assert_eq!(b.sessions.expire(61_999, 9, &mut b.notes), 0);
    assert_eq!(b.sessions.expire(62_000, 9, &mut b.notes), 1);
    assert!(!b.attach("c", 3, false));
    assert_eq!(b.stored("c", 3).generation, epoch(3));
}

#[test]
fn an_interval_of_zero_ends_it_and_the_greatest_never_does() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.sessions.detach(&client("c"), epoch(1), NEVER_S, 1_000, &mut b.notes);
    assert_eq!((b.sessions.next_end(), b.sessions.offline()), (None, 1));
    b.attach("c", 2, false);
    b.sessions.detach(&client("c"), epoch(2), 0, 1_000, &mut b.notes);
    assert_eq!((b.sessions.len(), b.sessions.offline(), b.sessions.bytes()), (0, 0, 0));
}

#[test]
fn changes_of_an_earlier_connection_are_refused() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.attach("c", 2, false);
    assert!(!b.update("c", 1, &[subscribe("a", QoS::AtLeastOnce, &[(T0, 5)])]));
    assert_eq!(b.stored("c", 2).subscriptions, []);
    assert!(!b.update("other", 2, &[]));
}

#[test]
fn an_equal_subscription_changes_options_and_keeps_its_place() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.update(
        "c",
        1,
        &[subscribe("a", QoS::AtLeastOnce, &[(T0, 5)]), advance(T0, 7, &[])],
    );
    b.update("c", 1, &[subscribe("a", QoS::ExactlyOnce, &[(T0, 50)])]);
    let stored = b.stored("c", 1);
    assert_eq!(stored.subscriptions[0].options.qos, QoS::ExactlyOnce);
    assert_eq!(stored.subscriptions[0].starts[0].position, Position(5));
    assert_eq!(stored.cursors[0].acknowledged, Position(7));
    b.update("c", 1, &[subscribe("a", QoS::AtMostOnce, &[])]);
    assert_eq!(
        b.stored("c", 1).subscriptions[0].starts.len(),
        1,
        "what is queued stays"
    );
    assert_eq!(b.take_notes(T0), [confirm("a", 5)]);
    b.sessions.detach(&client("c"), epoch(1), 0, 0, &mut b.notes);
    assert_eq!(
        b.take_notes(T0),
        [dropped("a", 50)],
        "the filter's shard had counted the later request"
    );
}

#[test]
fn a_subscription_that_names_one_shard_first_and_then_all_reads_all() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.update("c", 1, &[subscribe("a/#", QoS::AtMostOnce, &[(T1, 5)])]);
    b.update("c", 1, &[subscribe("a/#", QoS::AtLeastOnce, &[(T0, 8), (T1, 9)])]);
    let stored = b.stored("c", 1);
    let starts: Vec<_> = stored.subscriptions[0]
        .starts
        .iter()
        .map(|s| (s.shard, s.position.0))
        .collect();
    assert_eq!(starts, [(T0, 8), (T1, 5)]);
    let cursors: Vec<_> = stored.cursors.iter().map(|c| (c.shard, c.acknowledged.0)).collect();
    assert_eq!(cursors, [(T0, 8), (T1, 5)]);
    assert_eq!(b.take_notes(T0), [confirm("a/#", 8)]);
    b.update("c", 1, &[subscribe("a/#", QoS::ExactlyOnce, &[(T0, 20)])]);
    assert_eq!(b.stored("c", 1).subscriptions[0].starts.len(), 2);
}

#[test]
fn the_first_reader_confirms_a_filter_and_the_last_one_drops_it() {
    let mut b = Bench::default();
    for (name, at) in [("c", 5), ("d", 6), ("e", 7)] {
        b.attach(name, 1, false);
        b.update(name, 1, &[subscribe("a", QoS::AtLeastOnce, &[(T0, at), (T1, at)])]);
    }
    assert_eq!(b.take_notes(T0), [confirm("a", 5)]);
    assert_eq!(b.take_notes(T1), [confirm("a", 5)]);
    let unsubscribe = SessionChange::Unsubscribe {
        topic_filter: client("a"),
    };
    b.update("c", 1, std::slice::from_ref(&unsubscribe));
    b.attach("d", 2, true);
    assert_eq!(b.take_notes(T0), []);
    b.update("e", 1, &[unsubscribe]);
    assert_eq!(b.take_notes(T0), [dropped("a", 7)]);
    assert_eq!(b.take_notes(T1), [dropped("a", 7)]);
    assert_eq!(b.stored("e", 1).cursors, []);
}

#[test]
fn shards_are_told_what_the_slowest_reader_has_done_with() {
    let mut b = Bench::default();
    for (name, at) in [("c", 5), ("d", 9)] {
        b.attach(name, 1, false);
        b.update(name, 1, &[subscribe("a", QoS::AtLeastOnce, &[(T0, at)])]);
    }
    b.take_notes(T0);
    let trims = |b: &mut Bench| {
        b.sessions.send_trims(100, &mut b.notes);
        assert_eq!(b.sessions.trims(), Trims::None);
        b.take_notes(T0)
    };
    b.update("c", 1, &[advance(T0, 7, &[])]);
    assert_eq!(trims(&mut b), [trim("a", 7)]);
    b.update("c", 1, &[advance(T0, 20, &[])]);
    assert_eq!(trims(&mut b), [trim("a", 9)], "the other one begins there");
    b.update("d", 1, &[advance(T0, 15, &[])]);
    b.update("d", 1, &[advance(T0, 12, &[])]);
    assert_eq!(trims(&mut b), [trim("a", 15)], "never back");
    b.attach("d", 2, true);
    assert_eq!(trims(&mut b), [trim("a", 20)]);
    assert_eq!(trims(&mut b), []);
}

#[test]
fn shards_are_told_soon_when_they_have_much_to_drop() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    for filter in ["a", "b", "c"] {
        b.update("c", 1, &[subscribe(filter, QoS::AtLeastOnce, &[(T0, 1)])]);
    }
    b.take_notes(T0);
    assert_eq!(b.sessions.trims(), Trims::None);
    b.update("c", 1, &[advance(T0, 4_095, &[])]);
    assert_eq!(b.sessions.trims(), Trims::Some);
    b.update("c", 1, &[advance(T0, 4_096, &[])]);
    assert_eq!(b.sessions.trims(), Trims::Much);
    b.sessions.send_trims(2, &mut b.notes);
    assert_eq!(b.sessions.trims(), Trims::Rest, "the third filter");
    b.sessions.send_trims(2, &mut b.notes);
    assert_eq!(b.sessions.trims(), Trims::None);
    b.update("c", 1, &[advance(T0, 4_100, &[])]);
    assert_eq!(b.sessions.trims(), Trims::Some, "counted from new");
}

#[test]
fn to_tell_of_many_filters_takes_more_to_be_worth_it() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    for number in 0..400 {
        let filter: &'static str = format!("a/{number}").leak();
        b.update("c", 1, &[subscribe(filter, QoS::AtLeastOnce, &[(T0, 0)])]);
    }
    b.take_notes(T0);
    b.update("c", 1, &[advance(T0, 6_399, &[])]);
    assert_eq!(b.sessions.trims(), Trims::Some, "400 filters, 16 positions each");
    b.update("c", 1, &[advance(T0, 6_400, &[])]);
    assert_eq!(b.sessions.trims(), Trims::Much);
}

#[test]
fn a_cursor_keeps_what_is_done_behind_it_in_order() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.update("c", 1, &[subscribe("a", QoS::AtLeastOnce, &[(T0, 5)])]);
    b.update("c", 1, &[advance(T0, 6, &[9, 8, 6, 9]), advance(T1, 70, &[])]);
    let cursor = Cursor {
        shard: T0,
        acknowledged: Position(6),
        beyond: vec![Position(8), Position(9)],
    };
    assert_eq!(
        b.stored("c", 1).cursors,
        [cursor],
        "it reads nothing of the other shard"
    );
}

#[test]
fn a_later_subscription_does_not_move_the_cursor_and_the_first_one_begins_it() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.update(
        "c",
        1,
        &[subscribe("a", QoS::AtLeastOnce, &[(T0, 5)]), advance(T0, 6, &[])],
    );
    b.update("c", 1, &[subscribe("b", QoS::AtLeastOnce, &[(T0, 30)])]);
    assert_eq!(b.stored("c", 1).cursors[0].acknowledged, Position(6));
    for filter in ["a", "b"] {
        let topic_filter = client(filter);
        b.update("c", 1, &[SessionChange::Unsubscribe { topic_filter }]);
    }
    b.update("c", 1, &[subscribe("a", QoS::AtLeastOnce, &[(T0, 40)])]);
    assert_eq!(b.stored("c", 1).cursors[0].acknowledged, Position(40));
}

#[test]
fn an_exchange_goes_from_sent_to_received_to_done() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    let sending = |id, position| SessionChange::Sending {
        packet_id: packet(id),
        shard: T0,
        position: Position(position),
        qos: QoS::ExactlyOnce,
        shared: None,
        message: None,
    };
    b.update("c", 1, &[sending(2, 10), sending(1, 11)]);
    b.update(
        "c",
        1,
        &[SessionChange::Received { packet_id: packet(2) }, sending(2, 10)],
    );
    let stages: Vec<_> = b
        .stored("c", 1)
        .outbound
        .iter()
        .map(|e| (e.packet_id.get(), e.stage))
        .collect();
    assert_eq!(
        stages,
        [(2, OutboundStage::Received), (1, OutboundStage::Sent)],
        "asking again changes nothing"
    );
    b.update(
        "c",
        1,
        &[SessionChange::Completed { packet_id: packet(2) }, sending(2, 12)],
    );
    let stored = b.stored("c", 1);
    assert_eq!(stored.outbound.len(), 2);
    assert_eq!(stored.outbound[1].position, Position(12));
}

#[test]
fn a_message_that_the_session_keeps_goes_with_pubrec_and_lives_no_longer_for_it() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    let sending = |id, lives_s| SessionChange::Sending {
        packet_id: packet(id),
        shard: T0,
        position: Position(0),
        qos: QoS::ExactlyOnce,
        shared: None,
        message: Some(Box::new(message(lives_s))),
    };
    let before = b.sessions.bytes();
    b.log_time_ms = 1_000;
    b.update("c", 1, &[sending(1, Some(10)), sending(2, None)]);
    assert!(b.sessions.bytes() > before + 2 * 1_000, "its bytes are charged");
    b.attach("c", 2, false);
    let resumed = b.sessions.resumed(b"c", epoch(2), 4_000).unwrap();
    let left = resumed.outbound.iter().map(|e| e.message.as_deref().cloned());
    assert_eq!(
        left.collect::<Vec<_>>(),
        [Some(message(Some(7))), Some(message(None))],
        "what has passed is taken off (MQTT-3.3.2-6)"
    );
    b.update(
        "c",
        2,
        &[
            SessionChange::Received { packet_id: packet(1) },
            SessionChange::Completed { packet_id: packet(2) },
        ],
    );
    let stored = b.stored("c", 2);
    assert_eq!((stored.outbound.len(), &stored.outbound[0].message), (1, &None));
    b.update("c", 2, &[SessionChange::Completed { packet_id: packet(1) }]);
    assert_eq!(b.sessions.bytes(), before);
}

#[test]
fn shards_that_keep_packets_are_told_when_the_generation_ends() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.sessions.has_packets(&client("c"), epoch(1), T1, &mut b.notes);
    b.sessions.has_packets(&client("c"), epoch(1), T1, &mut b.notes);
    b.attach("c", 2, true);
    let forget = Note::ForgetPackets {
        client_id: client("c"),
        generation: epoch(1),
    };
    assert_eq!(b.take_notes(T1), std::slice::from_ref(&forget));
    b.sessions.has_packets(&client("c"), epoch(1), T1, &mut b.notes);
    assert_eq!(b.take_notes(T1), [forget], "it had ended before");
}

#[test]
fn a_leader_without_memory_takes_what_a_proxy_holds_and_one_with_memory_keeps_its_own() {
    let mut b = Bench::default();
    b.attach("c", 1, false);
    b.update(
        "c",
        1,
        &[subscribe("a", QoS::AtLeastOnce, &[(T0, 5)]), advance(T0, 6, &[])],
    );
    let held = b.stored("c", 1).clone();

    let mut fresh = Bench::default();
    fresh
        .sessions
        .register(&client("c"), epoch(1), 60, Some(&held), &mut fresh.notes);
    assert_eq!(fresh.stored("c", 1), held);
    assert_eq!(fresh.take_notes(T0), [confirm("a", 5)]);

    b.update("c", 1, &[advance(T0, 9, &[])]);
    b.sessions.suspend_all(1_000);
    assert_eq!((b.sessions.offline(), b.sessions.next_end()), (1, Some(61_000)));
    b.sessions
        .register(&client("c"), epoch(1), 60, Some(&held), &mut b.notes);
    assert_eq!(b.stored("c", 1).cursors[0].acknowledged, Position(9));
    assert_eq!((b.sessions.offline(), b.sessions.next_end()), (0, None));
}

#[test]
fn a_session_that_nobody_was_told_of_begins_anew() {
    let mut b = Bench::default();
    let name = client("c");
    assert!(!b.attach_untold("c", 1, false));
    b.sessions.detach(&name, epoch(1), 60, 1_000, &mut b.notes);
    assert!(!b.attach_untold("c", 2, false));
    assert_eq!((b.stored("c", 2).generation, b.sessions.offline()), (epoch(2), 0));
    // Its proxy names a connection that has ended, and then one that goes on.
    b.sessions.register(&name, epoch(2), 60, None, &mut b.notes);
    assert!(!b.attach_untold("c", 3, false));
    let held = b.stored("c", 3).clone();
    b.sessions.register(&name, epoch(3), 60, Some(&held), &mut b.notes);
    assert!(b.attach_untold("c", 4, false));
    // A QoS 2 publication is known by it.
    assert!(!b.attach_untold("c", 5, true));
    b.sessions.has_packets(&name, epoch(5), T0, &mut b.notes);
    assert!(b.attach_untold("c", 6, false));
}

#[test]
fn whether_a_client_was_told_is_kept_and_a_row_of_version_1_says_that_it_was() {
    let mut b = Bench::default();
    b.attach_untold("c", 1, false);
    let name = client("c");
    let row = b.sessions.rows.row_of(&name).unwrap();
    let is_found = |row: Bytes| {
        let mut b = Bench::default();
        b.sessions.restore_row(&name, row).unwrap();
        b.attach_untold("c", 2, false)
    };
    assert!(!is_found(row.clone()));
    assert!(is_found(row.slice(..row.len() - 1)));
    b.update("c", 1, &[]);
    assert!(is_found(b.sessions.rows.row_of(&name).unwrap()));
}
