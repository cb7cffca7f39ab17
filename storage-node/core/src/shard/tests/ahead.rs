//! Decisions while entries are on their way: they count what those will have changed.

use std::time::Duration;

use freshet_storage_contract::{DetachReason, Will};

use super::*;
use crate::log::{KnownBy, LastingNumber, Publish};
use crate::settings::LogRoom;
use crate::state::{Note, OnReturn, WillRow};

/// Lets a command that was proposed act.
fn apply(state: &mut State, ahead: &mut Ahead, position: Position, command: Command) -> Entry {
    let entry = Entry {
        version: ENTRY_VERSION,
        log_time_ms: 0,
        command,
    };
    state.apply(position, &entry);
    ahead.applied(position);
    entry
}

fn attach(request: u64, will: Option<Will>) -> AttachSession {
    AttachSession {
        request: RequestId(request),
        client_id: Bytes::from_static(b"c"),
        clean_start: false,
        session_expiry_interval_s: 60,
        will: will.map(Box::new),
    }
}

fn granted(answers: &[Answer]) -> SessionEpoch {
    let epoch = answers.iter().find_map(|answer| match answer {
        Answer::SessionAttached { epoch, .. } => Some(*epoch),
        _ => None,
    });
    epoch.unwrap_or_else(|| panic!("{answers:?}"))
}

#[test]
fn a_will_that_is_about_to_wait_is_dropped_when_its_client_is_back() {
    let mut b = bench();
    let will = Will {
        message: message("will", QoS::AtLeastOnce, false),
        delay_interval_s: 30,
    };
    b.run(|shard, key, turn| shard.attach_session(key, attach(1, Some(will)), turn));
    b.commit(1);
    let epoch = granted(&b.take_answers());
    b.run(|shard, key, turn| {
        let client_id = Bytes::from_static(b"c");
        shard.detach_session(key, &client_id, epoch, (DetachReason::WillDue, None), turn);
        shard.attach_session(key, attach(2, None), turn);
    });
    assert_eq!(b.shard.state.wills.len(), 0, "nothing is committed");
    while !b.shard.log.proposed.is_empty() {
        b.commit(1);
    }
    assert_eq!(b.shard.state.wills.len(), 0);
    assert_eq!(b.shard.counters.wills_dropped_total, 1);
    assert!(
        b.shard
            .state
            .effects
            .behind(&std::collections::BTreeMap::new())
            .next()
            .is_none()
    );
}

#[test]
fn a_takeover_is_told_behind_the_answer_that_the_connection_waits_for() {
    let mut b = bench();
    b.run(|shard, key, turn| {
        shard.attach_session(key, attach(1, None), turn);
        shard.attach_session(key, attach(2, None), turn);
    });
    assert_eq!(b.take_answers(), []);
    b.commit(1);
    let answers = b.take_answers();
    let epoch = granted(&answers);
    let client_id = Bytes::from_static(b"c");
    assert_eq!(answers.last(), Some(&Answer::TakeOver { client_id, epoch }));
    assert_eq!(answers.len(), 2);
}

#[test]
fn what_is_on_its_way_counts_towards_a_limit() {
    let mut b = bench();
    b.settings.retained_limits.messages = 1;
    let of_topic = |topic: &'static str| Message {
        topic_name: Bytes::from_static(topic.as_bytes()),
        ..message("x", QoS::AtLeastOnce, true)
    };
    let batch = PublishBatch {
        shard: S0,
        first: PublishSeq(1),
        messages: ["a", "a", "b"].map(|topic| of_topic(topic).into()).to_vec(),
        lasting: None,
    };
    b.run(|shard, key, turn| shard.publish(key, batch, turn));
    assert_eq!(
        b.shard.counters.retained_refused_total, 1,
        "a third one would be the second topic"
    );
    b.commit(2);
    assert_eq!(b.shard.state.retained.usage().messages, 1);
    assert_eq!(b.usage.retained.messages, 1);
}

#[test]
fn what_expires_is_asked_for_once() {
    let mut b = bench();
    let batch = PublishBatch {
        shard: S0,
        first: PublishSeq(1),
        messages: vec![Arc::new(Message {
            message_expiry_interval_s: Some(1),
            ..message("x", QoS::AtLeastOnce, true)
        })],
        lasting: None,
    };
    b.run(|shard, key, turn| shard.publish(key, batch, turn));
    b.commit(1);
    // Nothing in the ring is silent.
    b.run(|shard, key, turn| shard.acknowledge(key, Term(1), DeliverySeq(2), turn));
    let later = NOW.plus(Duration::from_secs(2));
    for _ in 0..3 {
        b.run_at(later, |shard, _, turn| shard.tick(turn));
    }
    assert_eq!(b.shard.log.proposed.len(), 1);
    assert!(
        b.shard.next_deadline().is_none_or(|due| due > later),
        "nothing is due while it is on its way"
    );
    b.commit(1);
    assert_eq!(b.shard.state.retained.usage().messages, 0);
}

#[test]
fn answers_of_a_link_that_has_ended_are_not_given_to_the_next() {
    let mut b = bench();
    b.run(|shard, key, turn| {
        shard.attach_session(key, attach(1, None), turn);
        shard.unlink(key, turn);
        // On the next link the proxy asks again.
        shard.attach_session(key, attach(1, None), turn);
    });
    b.commit(1);
    assert_eq!(b.take_answers().len(), 1);
}

#[test]
fn without_room_in_the_log_what_leaves_something_behind_waits_and_the_rest_goes_on() {
    let mut b = bench();
    b.settings.log_room = LogRoom::Hold;
    b.publish(1, "fast", QoS::AtMostOnce, false);
    b.publish(2, "live", QoS::AtLeastOnce, false);
    b.publish(3, "stored", QoS::AtLeastOnce, true);
    b.publish(4, "behind it", QoS::AtLeastOnce, false);
    assert_eq!(b.take_payloads(), ["fast", "live"]);
    assert!(b.shard.log.proposed.is_empty());
    b.settings.log_room = LogRoom::Free;
    b.run(|shard, _, turn| shard.submit_held(turn));
    b.commit(1);
    assert_eq!(b.take_payloads(), ["stored", "behind it"]);
    b.settings.log_room = LogRoom::Refuse;
    b.publish(5, "refused", QoS::AtLeastOnce, true);
    assert_eq!(b.shard.log.proposed.len(), 0);
    assert_eq!(b.shard.state.retained.usage().messages, 1);
}

/// What a state is charged with: sessions and wills, what is queued, filters; and how many sessions are without connection.
fn charged(state: &State) -> [u64; 4] {
    [
        state.sessions.bytes() + state.wills.bytes() + state.effects.bytes() + state.notes.bytes(),
        state.queues.bytes() + state.packets.bytes() + state.origins.bytes(),
        state.queues.filter_bytes(),
        state.sessions.offline(),
    ]
}

#[test]
fn what_entries_on_their_way_count_for_is_what_they_add() {
    let mut state = State::new(KeyedHash::new(1));
    let mut ahead = Ahead::default();
    let client_id = Bytes::from_static(b"c");
    let epoch = SessionEpoch::default();
    let attach = |clean_start, session_expiry_interval_s| Command::AttachSession {
        client_id: client_id.clone(),
        epoch,
        clean_start,
        session_expiry_interval_s,
    };
    let detach = || Command::DetachSession {
        client_id: client_id.clone(),
        epoch,
        session_expiry_interval_s: 60,
    };
    let ensure = || Command::EnsureDurable {
        session_shard: S0,
        topic_filter: Bytes::from_static(b"t"),
    };
    let row = WillRow {
        message: message("will", QoS::AtLeastOnce, false),
        epoch,
        due_ms: 9,
        on_return: OnReturn::Drop,
    };
    let hold = Command::HoldWill {
        client_id: client_id.clone(),
        row,
    };
    let send = Command::SendWill {
        message: message("will", QoS::AtLeastOnce, false),
        target: S0,
    };
    let exchange = |packet_id| KnownBy::Exchange {
        of: ExactlyOnce {
            client_id: client_id.clone(),
            generation: epoch,
            packet_id: PacketId::new(packet_id).unwrap(),
            epoch: None,
        },
        session_shard: S0,
    };
    let numbered = |number| KnownBy::Number {
        number: LastingNumber {
            origin: IncarnationId(7),
            number,
            oldest: 0,
        },
    };
    let mut known_by = VecDeque::from([KnownBy::Nothing, exchange(1), exchange(2), numbered(1), numbered(2)]);
    let mut commands = VecDeque::from([
        ensure(),
        ensure(),
        attach(false, 60),
        attach(false, 60),
        detach(),
        detach(),
    ]);
    commands.extend([
        attach(true, 60),
        detach(),
        attach(false, 0),
        attach(true, 0),
        attach(true, 0),
        hold,
        send,
    ]);
    let mut position = Position(0);
    while let Some(command) = commands.pop_front().or_else(|| {
        Some(Command::Publish(Box::new(Publish {
            message: message("queued", QoS::ExactlyOnce, false),
            known_by: known_by.pop_front()?,
            matched: state.queues.find(b"t"),
            limits: freshet_config::QueueLimits::default(),
        })))
    }) {
        position.0 += 1;
        let before = charged(&state);
        let change = ahead.foresee(&command, &state);
        ahead.proposed(position, change);
        let foreseen = [
            before[0] + ahead.session_bytes(),
            before[1] + ahead.queued_bytes(),
            before[2] + ahead.filter_bytes(),
            ahead.offline(&state),
        ];
        let entry = apply(&mut state, &mut ahead, position, command);
        let after = charged(&state);
        if after[0] < before[0] {
            // That a session ends is not counted before it has.
            assert_eq!(
                (foreseen[0], &foreseen[1..]),
                (before[0], &after[1..]),
                "{:?}",
                entry.command
            );
        } else {
            assert_eq!(after, foreseen, "{:?}", entry.command);
        }
        assert_eq!(
            (ahead.session_bytes(), ahead.queued_bytes(), ahead.filter_bytes()),
            (0, 0, 0)
        );
    }
    assert_eq!(state.queues.rows(), 5);
}

#[test]
fn that_publications_of_a_session_are_kept_counts_before_it_is_noted() {
    let session_bytes = |state: &State| state.sessions.bytes() + state.notes.bytes();
    let client_id = Bytes::from_static(b"c");
    let epoch = SessionEpoch::default();
    let attach = |clean_start| Command::AttachSession {
        client_id: client_id.clone(),
        epoch,
        clean_start,
        session_expiry_interval_s: 60,
    };
    let publish = |packet_id| {
        let of = ExactlyOnce {
            client_id: client_id.clone(),
            generation: epoch,
            packet_id: PacketId::new(packet_id).unwrap(),
            epoch: None,
        };
        Command::Publish(Box::new(Publish {
            message: message("kept", QoS::ExactlyOnce, false),
            known_by: KnownBy::Exchange { of, session_shard: S0 },
            matched: crate::state::Matched::default(),
            limits: freshet_config::QueueLimits::default(),
        }))
    };
    let notes = |first, generation| Command::ReceiveNotes {
        from: ShardId(1),
        first,
        notes: vec![Note::HasPackets {
            client_id: client_id.clone(),
            generation,
        }],
    };
    let gone = SessionEpoch {
        term: Term(9),
        counter: 9,
    };
    let commands = [
        attach(false),
        publish(1),
        publish(2),
        notes(1, epoch),
        notes(2, epoch),
        notes(3, gone),
    ];
    let mut state = State::new(KeyedHash::new(1));
    let mut ahead = Ahead::default();
    for (position, command) in (1..).map(Position).zip(commands) {
        let before = session_bytes(&state);
        let change = ahead.foresee(&command, &state);
        ahead.proposed(position, change);
        let foreseen = before + ahead.session_bytes();
        let entry = apply(&mut state, &mut ahead, position, command);
        assert_eq!(session_bytes(&state), foreseen, "{:?}", entry.command);
    }
}

fn retained(topic: &'static str, payload: &'static str) -> Command {
    let message = Message {
        topic_name: Bytes::from_static(topic.as_bytes()),
        payload: Bytes::from_static(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: true,
        publisher: PublisherId(0),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    };
    Command::Publish(Box::new(Publish {
        message,
        known_by: KnownBy::Nothing,
        matched: crate::state::Matched::default(),
        limits: freshet_config::QueueLimits::default(),
    }))
}

#[test]
fn what_will_be_retained_is_what_is_retained_when_all_has_been_applied() {
    let mut state = State::new(KeyedHash::new(1));
    let mut ahead = Ahead::default();
    let commands = [
        retained("a", "first"),
        retained("a", "second, longer"),
        retained("b", "x"),
        retained("a", ""),
        retained("b", "yy"),
    ];
    for (position, command) in (1..).map(Position).zip(&commands) {
        let change = ahead.foresee(command, &state);
        ahead.proposed(position, change);
    }
    let foreseen = ahead.retained(&state);
    assert_eq!(foreseen.messages, 1);
    for (position, command) in (1..).map(Position).zip(commands) {
        apply(&mut state, &mut ahead, position, command);
        assert_eq!(ahead.retained(&state), foreseen);
    }
    assert_eq!(ahead.len(), 0);
    assert_eq!(state.retained.usage(), foreseen);
}
