//! Two connections of one client id.

use freshet_mqtt::{QoS, ReasonCode};
use freshet_storage_contract::{DetachReason, SessionEpoch, ShardId};

use super::bench::*;
use super::seen::Seen;
use super::storage::TERM;
use crate::exchange::{ToLink, ToWorker};
use crate::reason::DisconnectReason;

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.1.3-2", "5.0:3.1.4-3", "5.0:3.14.4-2", "3.1.1:3.1.3-2", "3.1.1:3.1.4-2")
)]
fn a_second_client_with_the_same_id_takes_over() {
    // MQTT-3.1.4-3
    for version in [V311, V5] {
        let mut bench = Bench::new();
        let first = bench.client(version, "c");
        bench.subscribe(first, "a", QoS::AtMostOnce);
        let second = bench.client(version, "c");
        let (seen, reason) = bench.last_words(first);
        assert_eq!(reason, Some(DisconnectReason::TakenOver));
        let expected = if version == V5 {
            vec![Seen::Disconnect(ReasonCode::SessionTakenOver)]
        } else {
            vec![]
        };
        assert_eq!(seen, expected);
        assert_eq!(bench.storage.detached, [("c".into(), DetachReason::TakenOver)]);
        assert!(
            bench.storage.filters.is_empty(),
            "the session ended with its connection"
        );
        bench.publish(second, "a", b"x", QoS::AtLeastOnce, 1);
        assert_eq!(bench.read(second).len(), 1);
    }
}

#[test]
fn a_takeover_of_an_older_life_is_passed_over() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.tell(ToWorker::TakeOver {
        client_id: "c".into(),
        epoch: SessionEpoch {
            term: TERM,
            counter: 99,
        },
    });
    assert_eq!(bench.reason(client), None);
}

#[test]
fn storage_hears_of_the_end_after_the_outcome_of_what_was_published_before() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_publications = true;
    bench.publish(client, "a", b"1", QoS::AtMostOnce, 0);
    bench.publish(client, "a", b"2", QoS::AtLeastOnce, 1);
    let epoch = bench.storage.sessions["c".as_bytes()];
    bench.tell(ToWorker::TakeOver {
        client_id: "c".into(),
        epoch,
    });
    bench.close_ended();
    assert_eq!(bench.storage.detached, []);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.storage.detached, [("c".into(), DetachReason::TakenOver)]);
}

#[test]
fn storage_that_has_forgotten_is_told_the_sessions_of_each_shard() {
    let mut bench = Bench::new();
    let ids: Vec<String> = (0..20).map(|i| format!("client-{i}")).collect();
    for client_id in &ids {
        bench.client(V5, client_id);
    }
    let mut told = Vec::new();
    for shard in [ShardId(0), ShardId(1)] {
        bench.tell(ToWorker::RegisterSessions { shard });
        let Some(ToLink::RegisterSessions { shard: of, sessions }) = bench.storage.heard.pop() else {
            panic!()
        };
        assert_eq!(of, shard);
        for session in sessions {
            assert_eq!(bench.storage.placement.shard_of_client(&session.client_id), shard);
            assert_eq!(bench.storage.sessions[&session.client_id], session.epoch);
            told.push(String::from_utf8(session.client_id.to_vec()).unwrap());
        }
    }
    told.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(told, ids);
}
