//! Subscriptions of sessions that outlive their connection.

use freshet_mqtt::{QoS, ReasonCode, RetainHandling, SubscriptionOptions};
use freshet_storage_contract::{SessionChange, SessionRefusal};

use super::*;
use crate::exchange::{ToLink, ToWorker};
use crate::worker::tests::seen::Seen;

fn updates(bench: &Bench) -> usize {
    let is_one = |said: &&ToLink| matches!(said, ToLink::UpdateSession(_));
    bench.storage.heard.iter().filter(is_one).count()
}

#[test]
fn suback_and_unsuback_wait_until_storage_has_the_change() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.storage.hold_updates = true;
    assert_eq!(bench.subscribe(client, "a/+", QoS::AtLeastOnce), []);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(client), [Seen::SubAck(9, vec![ReasonCode::GrantedQos1])]);
    let stored = &bench.storage.kept.sessions[&b"c"[..]].subscriptions;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].starts.len(), 2, "one for each shard of the filter");

    bench.storage.hold_updates = true;
    assert_eq!(bench.unsubscribe(client, "a/+"), []);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(client), [Seen::UnsubAck(8, vec![ReasonCode::Success])]);
    assert!(bench.storage.kept.sessions[&b"c"[..]].subscriptions.is_empty());
}

#[test]
fn suback_of_a_subscription_that_ends_before_it_is_kept_waits_for_its_end() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.storage.hold_subscriptions = true;
    bench.storage.hold_updates = true;
    assert_eq!(bench.subscribe(client, "a", QoS::AtMostOnce), []);
    assert_eq!(bench.unsubscribe(client, "a"), [], "storage has what it had before");
    bench.storage.release();
    bench.settle();
    let (granted, ended) = (ReasonCode::GRANTED_QOS_0, ReasonCode::Success);
    assert_eq!(
        bench.read(client),
        [Seen::SubAck(9, vec![granted]), Seen::UnsubAck(8, vec![ended])]
    );
}

#[test]
fn an_equal_subscription_changes_nothing_and_asks_storage_for_nothing() {
    // MQTT-3.8.4-3, MQTT-3.8.4-4
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let before = updates(&bench);
    let granted = bench.subscribe(client, "a", QoS::AtLeastOnce);
    assert_eq!(granted, [Seen::SubAck(9, vec![ReasonCode::GrantedQos1])]);
    assert_eq!(updates(&bench), before);
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    assert_eq!(updates(&bench), before + 1);
    assert_eq!(bench.storage.kept.durable.len(), 1);
}

#[test]
fn an_equal_subscription_waits_for_the_first_one() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.storage.hold_updates = true;
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    assert_eq!(bench.subscribe(client, "a", QoS::AtLeastOnce), []);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(client).len(), 2);
}

#[test]
#[cfg_attr(false, shows("5.0:3.8.4-4"))]
fn what_came_during_an_absence_survives_a_second_subscription() {
    // MQTT-3.8.4-4
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.hang_up(client);
    for payload in [b"1", b"2"] {
        bench.deliver(message("a", payload, QoS::AtLeastOnce));
    }
    let (client, _) = connect(&mut bench, V5, "c");
    let options = SubscriptionOptions {
        retain_handling: RetainHandling::DoNotSend,
        ..SubscriptionOptions::new(QoS::AtLeastOnce)
    };
    let seen = bench.subscribe_with(client, "a", options, Some(5));
    let payloads: Vec<_> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Publish(publish) => Some(publish.payload.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(payloads, [b"1", b"2"]);
}

#[test]
fn subscriptions_act_again_before_connack_says_that_the_session_is_there() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtMostOnce);
    bench.hang_up(client);
    bench.storage.hold_subscriptions = true;
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(lasting(V5, "c")));
    bench.deliver(message("a", b"early", QoS::AtMostOnce));
    assert_eq!(bench.read(client), []);
    bench.storage.release();
    bench.settle();
    assert!(matches!(&bench.read(client)[..], [Seen::ConnAck(c)] if c.session_present));
    bench.deliver(message("a", b"x", QoS::AtMostOnce));
    assert_eq!(bench.read_publishes(client).len(), 1);
}

#[test]
fn a_subscription_that_storage_has_no_room_for_is_refused_alone() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.storage.hold_updates = true;
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let Some(ToLink::UpdateSession(update)) = bench.storage.held.pop_front() else {
        panic!()
    };
    assert!(matches!(update.changes[..], [SessionChange::Subscribe(_)]));
    let request = update.request.unwrap();
    let refusal = SessionRefusal::QuotaExceeded;
    bench.tell(ToWorker::UpdateRefused { request, refusal });
    assert_eq!(bench.read(client), [Seen::SubAck(9, vec![ReasonCode::QuotaExceeded])]);
    assert!(bench.storage.filters.is_empty(), "nobody wants the filter");
    bench.storage.release();
    bench.subscribe(client, "b", QoS::AtLeastOnce);
    bench.deliver(message("b", b"x", QoS::AtLeastOnce));
    assert_eq!(bench.read_publishes(client).len(), 1);
}

#[test]
fn a_shard_without_room_for_the_filter_refuses_the_subscription() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.storage.hold_subscriptions = true;
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let Some(ToLink::Subscribe {
        request, topic_filter, ..
    }) = bench.storage.held.pop_front()
    else {
        panic!()
    };
    bench.storage.name(request, &topic_filter);
    bench.settle();
    bench.tell(ToWorker::SubscriptionRefused { request });
    assert_eq!(bench.read(client), [Seen::SubAck(9, vec![ReasonCode::QuotaExceeded])]);
    assert!(bench.storage.filters.is_empty(), "nobody wants the filter");
}

#[test]
fn a_session_that_belongs_to_another_connection_ends_this_one() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.storage.hold_updates = true;
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let Some(ToLink::UpdateSession(update)) = bench.storage.held.pop_front() else {
        panic!()
    };
    let request = update.request.unwrap();
    let refusal = SessionRefusal::Superseded;
    bench.tell(ToWorker::UpdateRefused { request, refusal });
    let (seen, _) = bench.last_words(client);
    assert_eq!(seen, [Seen::Disconnect(ReasonCode::SessionTakenOver)]);
}

#[test]
fn storage_without_memory_is_told_of_the_whole_session() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.deliver(message("a", b"1", QoS::AtLeastOnce));
    bench.deliver(message("a", b"2", QoS::AtLeastOnce));
    let sent = bench.read_publishes(client);
    bench.puback(client, sent[0].packet_id.unwrap());
    let shard = bench.storage.placement.shard_of_client(b"c");
    bench.tell(ToWorker::RegisterSessions { shard });
    let Some(ToLink::RegisterSessions { sessions, .. }) = bench
        .storage
        .heard
        .iter()
        .rev()
        .find(|s| matches!(s, ToLink::RegisterSessions { .. }))
    else {
        panic!()
    };
    let session = sessions[0].session.as_ref().unwrap();
    assert_eq!(sessions[0].session_expiry_interval_s, 3_600);
    assert_eq!(&session.subscriptions[0].topic_filter[..], b"a");
    let positions: Vec<_> = bench.storage.kept.log.iter().map(|(position, _)| *position).collect();
    assert_eq!(session.cursors[0].acknowledged, positions[0]);
    assert_eq!(session.outbound[0].position, positions[1]);
}
