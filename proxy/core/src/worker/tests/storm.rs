//! Clients that all come back at once.

use std::time::Duration;

use freshet_config::ProxyConfig;
use freshet_mqtt::{ClientPacket, Connect, QoS, ReasonCode};

use super::bench::*;
use super::seen::Seen;
use crate::exchange::ToLink;
use crate::reason::DisconnectReason;
use crate::worker::{ListenerIndex, Refusal, WorkerSettings};

/// Clients whose CONNECT has come, by number from `first`.
fn crowd(bench: &mut Bench, first: usize, count: usize) -> Vec<Client> {
    let connect = |at: usize| {
        let client = bench.open(V5);
        bench.send(client, ClientPacket::Connect(Connect::new(V5, &format!("c{at}"))));
        client
    };
    (first..first + count).map(connect).collect()
}

fn asked_for(bench: &Bench) -> Vec<String> {
    let names = bench.storage.held.iter().filter_map(|said| match said {
        ToLink::AttachSession { client_id, .. } => Some(String::from_utf8_lossy(client_id).into_owned()),
        _ => None,
    });
    names.collect()
}

/// Storage answers the oldest attaches.
fn answer(bench: &mut Bench, count: usize) {
    for said in bench.storage.held.drain(..count).collect::<Vec<_>>() {
        let ToLink::AttachSession {
            request,
            client_id,
            clean_start,
            session_expiry_interval_s,
            ..
        } = said
        else {
            panic!("{said:?}")
        };
        bench
            .storage
            .attach(request, &client_id, clean_start, session_expiry_interval_s);
    }
    bench.settle();
}

#[test]
fn storage_is_asked_for_a_window_of_sessions_and_for_the_others_in_their_order() {
    let mut bench = Bench::new();
    bench.storage.hold_attaches = true;
    let clients = crowd(&mut bench, 0, 100);
    assert_eq!(asked_for(&bench).len(), 64);
    assert_eq!(bench.worker.stats().attaching_now, 100);
    assert_eq!(bench.worker.stats().attaches_waiting_now, 36);

    answer(&mut bench, 10);
    assert_eq!(
        asked_for(&bench)[54..],
        (64..74).map(|at| format!("c{at}")).collect::<Vec<_>>()
    );
    while !bench.storage.held.is_empty() {
        let held = bench.storage.held.len();
        answer(&mut bench, held);
    }
    for client in clients {
        let seen = bench.read(client);
        assert!(
            matches!(&seen[..], [Seen::ConnAck(c)] if c.reason_code == ReasonCode::Success),
            "{seen:?}"
        );
    }
    assert_eq!(bench.worker.stats().attaches_waiting_now, 0);
}

#[test]
fn a_client_that_leaves_before_its_turn_is_never_asked_for() {
    let mut bench = Bench::new();
    bench.storage.hold_attaches = true;
    let clients = crowd(&mut bench, 0, 66);
    bench.hang_up(clients[64]);
    answer(&mut bench, 64);
    assert_eq!(asked_for(&bench), ["c65"]);
    assert_eq!(bench.storage.detached, []);
}

#[test]
fn one_that_would_wait_too_long_is_refused_before_it_says_anything() {
    let settings = WorkerSettings {
        max_connections: 20_000,
        ..settings()
    };
    let mut bench = Bench::with(settings, ProxyConfig::default());
    bench.storage.hold_attaches = true;
    crowd(&mut bench, 0, 4_000);
    // Four each 100 ms: those that wait have to wait for more than a minute.
    for _ in 0..10 {
        bench.now = bench.now.plus(Duration::from_millis(100));
        answer(&mut bench, 4);
    }
    let peer = "127.0.0.1:9".parse().unwrap();
    let come = |bench: &mut Bench| bench.worker.accept(ListenerIndex(0), peer, bench.now, &mut bench.out);
    assert_eq!(come(&mut bench), Err(Refusal::TooManyAtOnce));
    assert_eq!(bench.worker.stats().disconnects_by(DisconnectReason::ServerBusy), 1);

    // Storage that has gone is waited for, however many there are.
    bench.tell(crate::exchange::ToWorker::StorageAway);
    assert!(come(&mut bench).is_ok());
}

#[test]
fn sessions_that_come_back_are_read_a_few_in_a_turn_and_fewer_while_sockets_wait() {
    let mut bench = Bench::new();
    let name = |at: usize| format!("c{at}");
    for at in 0..30 {
        let (client, _) = bench.connect(&lasting(V5, &name(at)));
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        bench.hang_up(client);
    }
    bench.deliver(message("a", b"kept", QoS::AtLeastOnce));
    let pulled = |bench: &Bench| bench.worker.stats().deliveries_pulled;

    bench.worker.begin_turn(true);
    let clients: Vec<Client> = (0..30).map(|at| bench.connect(&lasting(V5, &name(at))).0).collect();
    assert_eq!(pulled(&bench), 2);
    bench.worker.begin_turn(false);
    bench.settle();
    assert_eq!(pulled(&bench), 10);
    for read in [18, 26, 30] {
        assert!(bench.worker.must_go_on());
        bench.worker.begin_turn(false);
        bench.settle();
        assert_eq!(pulled(&bench), read);
    }
    assert!(!bench.worker.must_go_on());
    for client in clients {
        let seen = bench.read(client);
        assert!(matches!(seen.last(), Some(Seen::Publish(_))), "{seen:?}");
    }
}
