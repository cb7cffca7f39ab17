//! A proxy that gives clients away and goes on.

use std::sync::Arc;

use freshet_mqtt::{QoS, ReasonCode};
use freshet_storage_contract::{DetachReason, MonotonicMs};

use super::bench::*;
use super::seen::{Seen, decode_all};
use crate::reason::DisconnectReason;
use crate::worker::{MoveKind, MovePace};

fn pace(bench: &Bench, kind: MoveKind, keep: u64, moves_per_second: u32) -> MovePace {
    MovePace {
        kind,
        keep,
        moves_per_second,
        from: bench.now,
        until: MonotonicMs(bench.now.0 + 60_000),
        server_references: Arc::new([]),
    }
}

fn give_away(bench: &mut Bench, pace: MovePace) {
    bench.worker.move_clients(pace, bench.now, &mut bench.out);
    bench.settle();
}

fn clients(bench: &mut Bench, count: usize) -> Vec<Client> {
    let clients = (0..count).map(|i| bench.client(V5, &format!("c{i}"))).collect();
    bench.pass_ms(10);
    clients
}

#[test]
fn clients_go_at_the_pace_of_the_order_until_as_many_are_left_as_it_keeps() {
    let mut bench = Bench::new();
    clients(&mut bench, 50);
    let order = pace(&bench, MoveKind::Rebalance, 30, 10);
    give_away(&mut bench, order);
    bench.pass_ms(1_000);
    assert!((10..=12).contains(&bench.ended.len()), "{}", bench.ended.len());
    bench.pass_ms(30_000);
    assert_eq!(bench.worker.stats().clients_now, 30);
    assert_eq!(bench.worker.stats().clients_moved(), 20);
    assert_eq!(bench.worker.stats().disconnects_by(DisconnectReason::Moved), 20);
    assert!(
        bench.storage.detached.iter().all(|d| d.1 == DetachReason::Moved),
        "no will fires"
    );
}

#[test]
fn who_costs_least_goes_first() {
    let mut bench = Bench::new();
    let busy = bench.client(V5, "busy");
    let reader = bench.client(V5, "reader");
    let plain = bench.client(V5, "plain");
    bench.subscribe(reader, "r", QoS::AtMostOnce);
    bench.subscribe(busy, "b", QoS::AtLeastOnce);
    bench.deliver(message("b", b"x", QoS::AtLeastOnce));
    bench.pass_ms(10);
    for (keep, goes) in [(2, plain), (1, reader)] {
        let order = pace(&bench, MoveKind::Rebalance, keep, 1_000);
        give_away(&mut bench, order);
        bench.pass_ms(500);
        assert_eq!(bench.reason(goes), Some(DisconnectReason::Moved));
        assert_eq!(bench.worker.stats().clients_now, keep);
    }
    let order = pace(&bench, MoveKind::Rebalance, 0, 1_000);
    give_away(&mut bench, order);
    bench.pass_ms(500);
    let stats = bench.worker.stats();
    assert_eq!(
        (stats.moving_now, stats.moving_at_risk_now, stats.clients_now),
        (1, 1, 1)
    );
    let packet_id = bench.read_publishes(busy)[0].packet_id.unwrap();
    bench.puback(busy, packet_id);
    bench.pass_ms(100);
    assert_eq!(bench.reason(busy), Some(DisconnectReason::Moved));
    assert_eq!(bench.worker.stats().moving_now, 0);
}

#[test]
fn nobody_goes_before_the_time_of_the_order_or_after_it() {
    let mut bench = Bench::new();
    clients(&mut bench, 20);
    let mut order = pace(&bench, MoveKind::Drain, 0, 1);
    order.from = MonotonicMs(bench.now.0 + 3_000);
    order.until = MonotonicMs(bench.now.0 + 8_000);
    give_away(&mut bench, order);
    bench.pass_ms(2_900);
    assert_eq!(bench.ended, []);
    bench.pass_ms(57_000);
    assert!((5..=6).contains(&bench.ended.len()), "{}", bench.ended.len());
    assert_eq!(bench.worker.stats().clients_now, 20 - bench.ended.len() as u64);
}

#[test]
fn a_pause_and_a_faster_pace_take_effect_at_once() {
    let mut bench = Bench::new();
    clients(&mut bench, 100);
    let order = pace(&bench, MoveKind::Drain, 0, 10);
    give_away(&mut bench, order);
    bench.pass_ms(1_000);
    let paused = pace(&bench, MoveKind::Drain, 0, 0);
    give_away(&mut bench, paused);
    let gone = bench.ended.len();
    bench.pass_ms(10_000);
    assert_eq!(bench.ended.len(), gone);
    let faster = pace(&bench, MoveKind::Drain, 0, 50);
    give_away(&mut bench, faster);
    bench.pass_ms(1_000);
    assert!(
        (50..=52).contains(&(bench.ended.len() - gone)),
        "{}",
        bench.ended.len() - gone
    );
}

#[test]
fn who_comes_after_the_order_stays_with_a_rebalance_and_goes_last_with_a_drain() {
    for (kind, left) in [(MoveKind::Rebalance, 5), (MoveKind::Drain, 0)] {
        let mut bench = Bench::new();
        clients(&mut bench, 5);
        let order = pace(&bench, kind, 0, 1);
        give_away(&mut bench, order);
        bench.pass_ms(10);
        for i in 0..5 {
            bench.client(V5, &format!("late{i}"));
        }
        bench.pass_ms(30_000);
        assert_eq!(bench.worker.stats().clients_now, left, "{kind:?}");
    }
}

#[test]
fn clients_are_told_in_turn_where_to_go() {
    let mut bench = Bench::new();
    let all = clients(&mut bench, 3);
    let order = MovePace {
        server_references: Arc::new(["a.example".into(), "b.example".into()]),
        ..pace(&bench, MoveKind::Rebalance, 0, 1_000)
    };
    give_away(&mut bench, order);
    bench.pass_ms(200);
    let ended = bench.close_ended();
    assert_eq!(ended.len(), all.len());
    for (index, (_, bytes)) in ended.iter().enumerate() {
        assert_eq!(decode_all(V5, bytes), [Seen::Disconnect(ReasonCode::UseAnotherServer)]);
        let reference = ["a.example", "b.example"][index % 2].as_bytes();
        assert!(bytes.windows(reference.len()).any(|part| part == reference));
    }
}

#[test]
fn without_a_reference_clients_are_told_what_brings_them_back() {
    let mut bench = Bench::new();
    let client = clients(&mut bench, 1)[0];
    let order = pace(&bench, MoveKind::Drain, 0, 1_000);
    give_away(&mut bench, order);
    assert_eq!(
        bench.last_words(client),
        (
            vec![Seen::Disconnect(ReasonCode::ServerShuttingDown)],
            Some(DisconnectReason::Moved)
        )
    );
}

#[test]
fn an_order_that_is_withdrawn_leaves_the_others_where_they_are() {
    let mut bench = Bench::new();
    clients(&mut bench, 10);
    let order = pace(&bench, MoveKind::Drain, 0, 1);
    give_away(&mut bench, order);
    bench.pass_ms(10);
    bench.worker.end_moves(bench.now, &mut bench.out);
    let gone = bench.ended.len();
    bench.pass_ms(60_000);
    assert_eq!(bench.ended.len(), gone);
    bench.client(V5, "new");
}

#[test]
fn a_proxy_that_is_told_to_end_goes_on_from_where_its_order_was() {
    let mut bench = Bench::new();
    clients(&mut bench, 10);
    let order = pace(&bench, MoveKind::Drain, 0, 1);
    give_away(&mut bench, order);
    let deadline = MonotonicMs(bench.now.0 + 10_000);
    let drain = crate::worker::DrainPace {
        moves_per_second: 100,
        deadline,
    };
    bench.worker.begin_drain(drain, bench.now, &mut bench.out);
    bench.settle();
    bench.pass_ms(1_000);
    bench.close_ended();
    assert!(bench.worker.is_drained());
}
