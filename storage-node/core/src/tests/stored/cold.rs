//! What is queued and on disk alone: who reads it waits for the disk, however late it answers, and whatever has become of
//! the message or of the reader meanwhile.

use super::*;
use crate::{Load, LoadError, RowError};

/// A world with a session `c`, without connection, and these messages of topic `a` that wait for it.
fn waiting(settings: StorageSettings, messages: impl Iterator<Item = Message>) -> World {
    let mut w = World::with_slow_disk(settings);
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    for message in messages {
        w.publish(B, message);
    }
    w.disconnect(A, "c", epoch, None);
    w
}

fn numbered(count: u32) -> impl Iterator<Item = Message> {
    (1..=count).map(|number| qos_1("a", &number.to_string()))
}

fn texts(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

impl World {
    /// A proxy asks for what waits for `c` behind a position.
    fn ask_pull(&mut self, proxy: u128, after: Position) {
        let pull = Pull {
            request: RequestId(99),
            shard: S0,
            session_shard: S0,
            after,
            filters: vec![PullFilter {
                filter_id: FilterId(0),
                topic_filter: bytes("a"),
                start: Position(0),
            }],
            max_messages: 1_000,
            max_bytes: 1 << 20,
        };
        self.operate(proxy, Operation::Pull(pull));
    }

    /// Chunks that have come since the last call: payloads, where the next one begins, and whether there is none.
    fn chunks(&mut self, proxy: u128) -> Vec<(Vec<String>, Position, bool)> {
        self.acknowledge(proxy);
        let chunk = |delivery| match delivery {
            Delivery::Pulled {
                messages,
                up_to,
                caught_up,
                ..
            } => Some((payloads(&messages), up_to, caught_up)),
            _ => None,
        };
        self.take_deliveries(proxy).into_iter().filter_map(chunk).collect()
    }

    pub(super) fn resident(&self) -> u64 {
        self.gauge(|g| g.queued_resident_bytes)
    }
}

#[test]
fn what_a_checkpoint_has_goes_from_memory_and_counts_as_before() {
    let mut from_memory = world();
    from_memory.attach(A);
    let epoch = from_memory.begin(A, 1, "c");
    from_memory.subscribe_stored(A, "c", epoch, "a");
    for message in numbered(3) {
        from_memory.publish(A, message);
    }
    let w = waiting(settings(1), numbered(3));
    assert_eq!(w.resident(), 0);
    assert!(from_memory.resident() > 0);
    for gauge in [
        |g: &crate::ShardGauges| g.queued_bytes,
        |g: &crate::ShardGauges| g.queued_messages,
        |g: &crate::ShardGauges| g.queued_rows,
    ] {
        assert_eq!(w.gauge(gauge), from_memory.gauge(gauge));
    }
}

#[test]
fn a_pull_goes_on_when_the_last_of_its_messages_is_there() {
    let mut w = waiting(settings(1), numbered(3));
    w.ask_pull(A, Position(0));
    let mut asked = w.take_asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.is_sorted(), "in the order of their keys");
    asked.reverse();
    for load in &asked {
        assert_eq!(w.chunks(A), []);
        assert_eq!(w.gauge(|g| g.reads_waiting), 1);
        w.answer_loads(&[*load]);
    }
    let chunks = w.chunks(A);
    assert_eq!((&chunks[0].0, chunks[0].2), (&texts(1..=3), true));
    assert_eq!((w.resident(), w.gauge(|g| g.reads_waiting)), (0, 0));
    assert_eq!(w.counter(|c| c.loads_total), 3);
    let rows = &w.disk.as_ref().unwrap().rows;
    let bytes = asked.iter().map(|load| rows[&(load.shard, load.key())].len() as u64);
    assert_eq!(w.counter(|c| c.loaded_bytes_total), bytes.sum());
}

#[test]
fn what_several_wait_for_is_asked_for_once() {
    let mut w = waiting(settings(1), numbered(5));
    w.ask_pull(A, Position(0));
    let asked = w.take_asked();
    w.ask_pull(B, Position(0));
    assert_eq!((asked.len(), w.take_asked()), (5, Vec::new()));
    w.answer_loads(&asked[..4]);
    assert_eq!((w.chunks(A), w.chunks(B)), (Vec::new(), Vec::new()));
    w.answer_loads(&asked[4..]);
    for proxy in [A, B] {
        assert_eq!(w.chunks(proxy)[0].0, texts(1..=5));
    }
    assert_eq!(w.resident(), 0);
}

#[test]
fn reads_behind_one_that_waits_do_not_wait_for_it() {
    let mut w = waiting(settings(1), numbered(2));
    w.ask_pull(A, Position(0));
    let asked = w.take_asked();
    w.ask_pull(A, Position(u64::MAX >> 1));
    assert_eq!(w.chunks(A)[0].0, Vec::<String>::new(), "there is nothing behind");
    w.answer_loads(&asked);
    assert_eq!(w.chunks(A)[0].0, texts(1..=2));
}

#[test]
fn all_of_it_comes_in_chunks_however_little_may_be_in_memory() {
    for resident_bytes in [0, 1, 3_000] {
        let few = StorageSettings {
            queued_resident_bytes: resident_bytes,
            ..settings(1)
        };
        let mut w = waiting(few, numbered(40));
        let (mut seen, mut after) = (Vec::new(), Position(0));
        loop {
            w.ask_pull(A, after);
            let asked = w.take_asked();
            let most = (resident_bytes / 4).max(130);
            assert!(asked.len() as u64 * 130 <= most, "{resident_bytes}: {asked:?}");
            w.answer_loads(&asked);
            assert!(w.resident() <= resident_bytes);
            let (payloads, up_to, caught_up) = w.chunks(A).remove(0);
            seen.extend(payloads);
            after = up_to;
            if caught_up {
                break;
            }
        }
        assert_eq!(seen, texts(1..=40));
    }
}

/// Where the message of a row is.
fn position(load: &Load) -> u64 {
    let key = load.key();
    u64::from_be_bytes(key[1..9].try_into().unwrap())
}

#[test]
fn readers_that_wait_for_room_are_admitted_together_in_the_order_of_positions() {
    // Room for fifteen messages on their way.
    let few = StorageSettings {
        queued_resident_bytes: 8_000,
        ..settings(1)
    };
    let mut w = waiting(few, numbered(60));
    w.ask_pull(A, Position(0));
    let mut filling = w.take_asked();
    assert_eq!(filling.len(), 15);
    let first = position(&filling[0]);
    w.ask_pull(A, Position(first + 14));
    filling.extend(w.take_asked());
    for number in [40, 20, 50, 30] {
        w.ask_pull(B, Position(first + number - 1));
    }
    assert_eq!(w.take_asked(), [], "there is no room");
    w.answer_loads(&filling);
    let asked = w.take_asked();
    let numbers: Vec<u64> = asked.iter().map(|load| position(load) - first).collect();
    assert_eq!(
        numbers,
        [20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52],
        "each for a part"
    );
    w.answer_loads(&asked);
    let of_b: Vec<_> = w.chunks(B).into_iter().map(|(payloads, ..)| payloads).collect();
    let expected = [(21, 23), (31, 33), (41, 43), (51, 53)];
    assert_eq!(of_b, expected.map(|(from, to)| texts(from..=to)));
    assert_eq!(w.chunks(A)[0].0, texts(1..=22), "with what came for the other pull");
}

#[test]
fn what_went_while_it_was_read_is_passed_over() {
    for with_row in [true, false] {
        let expiring = numbered(2).map(|message| Message {
            message_expiry_interval_s: Some(5),
            ..message
        });
        let lasting = [qos_1("a", "lasting")];
        let mut w = waiting(settings(1), expiring.chain(lasting));
        w.ask_pull(A, Position(0));
        let asked = w.take_asked();
        let rows = w.disk.as_ref().unwrap().rows.clone();
        w.pass_ms_with(6_000, &[A, B]);
        assert_eq!(w.gauge(|g| g.queued_messages), 1);
        if with_row {
            // It was read before it went.
            let of_load = |load: &Load| (*load, rows.get(&(load.shard, load.key())).cloned());
            let read: Vec<_> = asked.iter().map(of_load).collect();
            assert!(read.iter().all(|(_, row)| row.is_some()));
            w.core.loaded(read, w.now, &mut w.out).unwrap();
            w.collect();
        } else {
            w.answer_loads(&asked);
        }
        let chunk = w.chunks(A).remove(0);
        assert_eq!((chunk.0, chunk.2), (vec!["lasting".to_owned()], true));
        assert_eq!(w.resident(), 0);
    }
}

#[test]
fn a_reader_that_finds_other_messages_than_it_waited_for_waits_again() {
    let expiring = numbered(1).map(|message| Message {
        message_expiry_interval_s: Some(5),
        ..message
    });
    // With this little a message is brought at a time.
    let few = StorageSettings {
        queued_resident_bytes: 1,
        ..settings(1)
    };
    let mut w = waiting(few, expiring.chain([qos_1("a", "lasting")]));
    w.ask_pull(A, Position(0));
    let first = w.take_asked();
    w.pass_ms_with(6_000, &[A, B]);
    w.answer_loads(&first);
    assert_eq!(w.chunks(A), []);
    let second = w.take_asked();
    assert_eq!((first.len(), second.len()), (1, 1));
    w.answer_loads(&second);
    assert_eq!(w.chunks(A)[0].0, ["lasting"]);
}

#[test]
fn what_was_read_for_a_proxy_that_has_gone_is_passed_over() {
    let mut w = waiting(settings(1), numbered(3));
    w.ask_pull(A, Position(0));
    let asked = w.take_asked();
    w.answer_loads(&asked[..1]);
    assert!(w.resident() > 0);
    w.pass_ms_with(8_000, &[B]);
    assert_eq!((w.resident(), w.gauge(|g| g.reads_waiting)), (0, 0));
    w.answer_loads(&asked[1..]);
    assert_eq!(w.resident(), 0);
    w.ask_pull(B, Position(0));
    let asked = w.take_asked();
    w.answer_loads(&asked);
    assert_eq!(w.chunks(B)[0].0, texts(1..=3));
}

#[test]
fn a_session_that_is_taken_over_while_its_pull_waits_reads_all_of_it_at_the_other_proxy() {
    let mut w = waiting(settings(1), numbered(3));
    let (epoch, session) = w.resume(A, 2, "c");
    let after = session.cursors[0].acknowledged;
    w.ask_pull(A, after);
    let asked = w.take_asked();
    w.ask_session(B, 3, "c", false, None);
    w.disconnect(A, "c", epoch, None);
    assert!(matches!(
        w.take_answers(B)[..],
        [Answer::SessionAttached {
            session_present: true,
            ..
        }]
    ));
    w.ask_pull(B, after);
    assert_eq!(w.take_asked(), []);
    w.answer_loads(&asked);
    for proxy in [A, B] {
        assert_eq!(w.chunks(proxy)[0].0, texts(1..=3), "{proxy:x}");
    }
}

#[test]
fn what_is_acknowledged_while_another_reads_it_goes_from_disk_and_memory() {
    let mut w = waiting(settings(1), numbered(2));
    let (epoch, _) = w.resume(A, 2, "c");
    w.ask_pull(A, Position(0));
    let asked = w.take_asked();
    w.answer_loads(&asked);
    let (_, up_to, _) = w.chunks(A).remove(0);
    w.ask_pull(B, Position(0));
    let asked = w.take_asked();
    w.answer_loads(&asked[..1]);
    w.change(A, "c", epoch, vec![advance(S0, up_to)]);
    w.pass_ms_with(3_000, &[A, B]);
    assert_eq!(w.gauge(|g| g.queued_messages), 0);
    w.answer_loads(&asked[1..]);
    let chunk = w.chunks(B).remove(0);
    assert_eq!((chunk.0, chunk.2), (Vec::new(), true));
    assert_eq!(w.resident(), 0);
    let messages = Load::key(&asked[0])[0];
    let rows = &w.disk.as_ref().unwrap().rows;
    assert!(rows.keys().all(|(_, key)| key[0] != messages), "their rows have gone");
}

#[test]
fn a_node_that_comes_back_has_no_more_in_memory_than_it_may_and_all_of_it_on_disk() {
    let mut w = waiting(settings(1), numbered(30));
    let few = StorageSettings {
        queued_resident_bytes: 2_000,
        ..settings(1)
    };
    let disk = w.disk.take().unwrap();
    let mut again = World::with_slow_disk(few.clone());
    again.core = disk.restore(few).finish(Term(TERM.0 + 1), again.now);
    assert!((1..=2_000).contains(&again.resident()), "{}", again.resident());
    assert_eq!(again.gauge(|g| g.queued_messages), 30);
    again.disk = Some(disk);
    again.attach(A);
    again.ask_pull(A, Position(0));
    let (mut seen, mut open) = (Vec::new(), true);
    while open {
        let asked = again.take_asked();
        again.answer_loads(&asked);
        for (payloads, up_to, caught_up) in again.chunks(A) {
            seen.extend(payloads);
            open = !caught_up;
            if open {
                again.ask_pull(A, up_to);
            }
        }
    }
    assert_eq!(seen, texts(1..=30));
}

#[test]
fn a_row_that_is_missing_or_none_is_named() {
    let mut w = waiting(settings(1), numbered(1));
    w.ask_pull(A, Position(0));
    let asked = w.take_asked();
    let mut answer = |row| w.core.loaded([(asked[0], row)], w.now, &mut w.out);
    let missing = answer(None).unwrap_err();
    assert_eq!((missing.shard, missing.cause), (S0, RowError::Missing));
    assert!(missing.to_string().contains(&missing.position.to_string()), "{missing}");
    let damaged = answer(Some(Bytes::from_static(&[9])));
    assert!(
        matches!(
            damaged,
            Err(LoadError {
                cause: RowError::Decode(_),
                ..
            })
        ),
        "{damaged:?}"
    );
}

#[test]
fn what_others_wait_for_outlives_a_proxy_that_has_gone() {
    let few = StorageSettings {
        queued_resident_bytes: 8_000,
        ..settings(1)
    };
    let mut w = waiting(few, numbered(60));
    w.ask_pull(A, Position(0));
    let first = position(&w.take_asked()[0]);
    for proxy in [A, B] {
        w.ask_pull(proxy, Position(first + 40));
    }
    assert_eq!(w.gauge(|g| g.reads_waiting), 3);
    w.pass_ms_with(8_000, &[B]);
    assert_eq!(w.gauge(|g| g.reads_waiting), 1);
    let asked = w.take_asked();
    w.answer_loads(&asked);
    assert_eq!(w.chunks(B)[0].0[0], "42");
}
