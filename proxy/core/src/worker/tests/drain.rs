//! A proxy that is told to stop hands its clients over.

use freshet_mqtt::{QoS, ReasonCode};
use freshet_storage_contract::{DetachReason, MonotonicMs};

use super::bench::*;
use super::seen::{Seen, decode_all};
use crate::reason::DisconnectReason;
use crate::worker::{DrainPace, ListenerIndex, Received, Refusal};

fn drain(bench: &mut Bench, moves_per_second: u32, within_ms: u64) {
    let deadline = MonotonicMs(bench.now.0 + within_ms);
    bench.worker.begin_drain(
        DrainPace {
            moves_per_second,
            deadline,
        },
        bench.now,
        &mut bench.out,
    );
    bench.settle();
}

#[test]
fn clients_leave_at_the_pace_that_was_asked_for() {
    let mut bench = Bench::new();
    for i in 0..50 {
        bench.client(V5, &format!("c{i}"));
    }
    drain(&mut bench, 10, 60_000);
    for seconds in 0..5 {
        let gone = bench.ended.len();
        assert!(
            (seconds * 10..=seconds * 10 + 2).contains(&gone),
            "{gone} after {seconds} s"
        );
        for (_, bytes) in bench.close_ended() {
            assert_eq!(
                decode_all(V5, &bytes),
                [Seen::Disconnect(ReasonCode::ServerShuttingDown)]
            );
        }
        bench.pass_ms(1_000);
    }
    bench.close_ended();
    assert!(bench.worker.is_drained());
    assert_eq!(
        bench
            .worker
            .next_deadline()
            .filter(|at| *at < MonotonicMs(bench.now.0 + 1_000)),
        None
    );
    assert!(
        bench.storage.detached.iter().all(|d| d.1 == DetachReason::Moved),
        "no will fires"
    );
    assert_eq!(bench.storage.detached.len(), 50);
    assert_eq!(
        bench.worker.stats().disconnects_by(DisconnectReason::ServerShutdown),
        50
    );
}

#[test]
fn what_is_in_flight_is_finished_first() {
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.client(V5, "p"), bench.client(V5, "s"));
    bench.subscribe(subscriber, "b", QoS::AtLeastOnce);
    bench.deliver(message("b", b"x", QoS::AtLeastOnce));
    let packet_id = bench.read_publishes(subscriber)[0].packet_id.unwrap();
    bench.storage.hold_publications = true;
    bench.publish(publisher, "a", b"x", QoS::AtLeastOnce, 1);
    drain(&mut bench, 1_000, 60_000);
    bench.pass_ms(500);
    assert_eq!((bench.reason(publisher), bench.reason(subscriber)), (None, None));
    // What comes now is left for the next proxy: it is not acknowledged here.
    bench.publish(publisher, "a", b"y", QoS::AtLeastOnce, 2);
    bench.storage.release();
    bench.settle();
    bench.puback(subscriber, packet_id);
    assert_eq!(
        bench.read(publisher),
        [Seen::PubAck(1, ReasonCode::NoMatchingSubscribers)]
    );
    bench.pass_ms(100);
    for client in [publisher, subscriber] {
        assert_eq!(bench.reason(client), Some(DisconnectReason::ServerShutdown));
    }
}

#[test]
fn a_client_that_never_finishes_is_not_waited_for() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.deliver(message("a", b"x", QoS::AtLeastOnce));
    drain(&mut bench, 1_000, 60_000);
    bench.pass_ms(2_100);
    assert_eq!(bench.reason(client), Some(DisconnectReason::ServerShutdown));
}

#[test]
fn at_the_deadline_all_go() {
    let mut bench = Bench::new();
    for i in 0..100 {
        bench.client(V311, &format!("c{i}"));
    }
    bench.open(V5);
    drain(&mut bench, 1, 3_000);
    bench.pass_ms(3_100);
    bench.close_ended();
    assert!(bench.worker.is_drained());
    assert_eq!(bench.worker.stats().connections_now, 0);
}

#[test]
fn a_draining_worker_takes_nobody() {
    let mut bench = Bench::new();
    bench.client(V5, "c");
    drain(&mut bench, 1_000, 60_000);
    let refused = bench.worker.accept(
        ListenerIndex(0),
        "127.0.0.1:9".parse().unwrap(),
        bench.now,
        &mut bench.out,
    );
    assert_eq!(refused, Err(Refusal::Draining));
}

#[test]
fn a_removed_listener_takes_its_connections_along() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.worker.close_listener(ListenerIndex(1), bench.now, &mut bench.out);
    bench.settle();
    assert_eq!(bench.reason(client), None);
    bench.worker.close_listener(ListenerIndex(0), bench.now, &mut bench.out);
    bench.settle();
    let expected = (
        vec![Seen::Disconnect(ReasonCode::AdministrativeAction)],
        Some(DisconnectReason::ListenerRemoved),
    );
    assert_eq!(bench.last_words(client), expected);
}

#[test]
fn a_drain_that_is_called_off_leaves_the_others_where_they_are() {
    let mut bench = Bench::new();
    let clients: Vec<_> = (0..10).map(|i| bench.client(V311, &format!("c{i}"))).collect();
    bench.storage.hold_publications = true;
    // With something in flight at each, the first is the first to be asked.
    for client in &clients {
        bench.publish(*client, "a", b"x", QoS::AtLeastOnce, 1);
    }
    drain(&mut bench, 1, 60_000);
    assert_eq!(
        bench.publish(clients[0], "a", b"y", QoS::AtLeastOnce, 2),
        Received::PauseReading
    );
    bench.worker.end_moves(bench.now, &mut bench.out);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(clients[0]).len(), 2);
    assert_eq!(bench.resumed, [clients[0].token]);
    bench.pass_ms(60_000);
    assert_eq!(bench.ended, []);
    bench.client(V5, "new");
}
