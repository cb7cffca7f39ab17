//! Members whose session outlives their connection: what of a group becomes the session's own.

use freshet_storage_contract::SessionChange;

use super::*;
use crate::exchange::ToLink;

#[test]
fn a_member_with_a_lasting_session_takes_qos_2_for_itself() {
    // MQTT-4.8.2-4
    let mut bench = Bench::new();
    let (client, _) = bench.connect(&lasting(V5, "c"));
    bench.subscribe(client, NAME, QoS::ExactlyOnce);
    deliver(&mut bench, 0..1, QoS::ExactlyOnce);
    let seen = bench.read_publishes(client);
    assert_eq!(payloads(&seen), [0]);
    let shared = bench.storage.heard.iter().find_map(|said| match said {
        ToLink::UpdateSession(update) => update.changes.iter().find_map(|change| match change {
            SessionChange::Sending { shared, .. } => shared.clone(),
            _ => None,
        }),
        _ => None,
    });
    assert_eq!(shared.as_deref(), Some(NAME.as_bytes()));
    assert_eq!(settled(&bench), [], "the change of the session settles it");
    bench.hang_up(client);
    assert_eq!(settled(&bench), [], "and the end of the connection gives nothing back");
}

/// A client with a lasting session that subscribes to a group and, by itself, to the same topic.
fn member_twice(bench: &mut Bench, window: u16) -> Client {
    let mut connect = lasting(V5, "c");
    connect.properties.receive_maximum = NonZeroU16::new(window);
    let (client, ack) = bench.connect(&connect);
    if !ack.session_present {
        for (name, identifier) in [(NAME, 1), ("a", 2)] {
            let options = SubscriptionOptions::new(QoS::ExactlyOnce);
            bench.subscribe_with(client, name, options, Some(identifier));
        }
    }
    client
}

#[test]
fn what_came_by_a_group_and_by_another_subscription_comes_again_by_both() {
    let mut bench = Bench::new();
    let client = member_twice(&mut bench, 10);
    deliver(&mut bench, 0..2, QoS::ExactlyOnce);
    let mut before: Vec<_> = bench.read_publishes(client);
    assert_eq!(before.len(), 4);
    bench.hang_up(client);
    let client = member_twice(&mut bench, 10);
    let mut again = bench.read_publishes(client);
    assert!(again.iter().all(|publish| publish.dup));
    for seen in [&mut before, &mut again] {
        seen.sort_by_key(|publish| publish.packet_id);
        seen.iter_mut().for_each(|publish| publish.dup = false);
    }
    assert_eq!(again, before, "each with its packet id and its identifier");
}

#[test]
fn what_came_by_a_group_does_not_stand_for_what_another_subscription_has_not_had() {
    let mut bench = Bench::new();
    let client = member_twice(&mut bench, 1);
    deliver(&mut bench, 0..1, QoS::ExactlyOnce);
    let first = bench.read_publishes(client);
    assert_eq!(first.len(), 1);
    bench.hang_up(client);
    let client = member_twice(&mut bench, 10);
    let mut identifiers: Vec<_> = bench
        .read_publishes(client)
        .into_iter()
        .map(|publish| publish.identifiers)
        .collect();
    identifiers.sort();
    assert_eq!(identifiers, [vec![1], vec![2]]);
}

#[test]
fn a_lasting_session_that_ends_before_it_was_sent_a_message_gives_it_back() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(&lasting(V5, "c"));
    bench.subscribe(client, NAME, QoS::ExactlyOnce);
    bench.storage.hold_updates = true;
    // The first one's packet id is on its way to storage; the second one's has to wait for that.
    deliver(&mut bench, 0..2, QoS::ExactlyOnce);
    let other = member(&mut bench, "other", 10, QoS::ExactlyOnce);
    bench.hang_up(client);
    assert_eq!(payloads(&bench.read_publishes(other)), [1]);
}

/// A member whose session takes a message, which storage has not heard yet, and another member.
fn about_to_take(bench: &mut Bench) -> (Client, Client) {
    let (client, _) = bench.connect(&lasting(V5, "c"));
    bench.subscribe(client, NAME, QoS::ExactlyOnce);
    bench.storage.hold_updates = true;
    deliver(bench, 0..1, QoS::ExactlyOnce);
    let other = member(bench, "other", 10, QoS::ExactlyOnce);
    (client, other)
}

#[test]
fn what_a_session_is_about_to_take_is_its_own_when_storage_says_so_although_the_client_has_gone() {
    let mut bench = Bench::new();
    let (client, other) = about_to_take(&mut bench);
    bench.hang_up(client);
    bench.storage.release();
    bench.settle();
    assert_eq!((settled(&bench), bench.read(other)), (vec![], vec![]));
    let stored = &bench.storage.kept.sessions[&b"c"[..]].outbound;
    assert_eq!(stored[0].shared.as_deref(), Some(NAME.as_bytes()));
}

#[test]
fn what_a_session_could_not_take_goes_to_another_member() {
    let mut bench = Bench::new();
    let (client, other) = about_to_take(&mut bench);
    bench.hang_up(client);
    // Somebody else has it by now.
    let mut connect = Connect::new(V5, "c");
    connect.clean_start = true;
    bench.connect(&connect);
    bench.storage.release();
    bench.settle();
    assert_eq!(settled(&bench), [(0, Settlement::Returned)]);
    assert_eq!(payloads(&bench.read_publishes(other)), [0]);
}

#[test]
fn a_client_whose_session_may_have_taken_a_message_in_an_earlier_life_of_the_proxy_comes_again() {
    let mut bench = Bench::new();
    let (client, other) = about_to_take(&mut bench);
    let shard = bench.storage.placement.shard_of_topic("a");
    bench.tell(ToWorker::Overrun {
        shard,
        queued: crate::exchange::QueuedFor::Unexpired,
    });
    assert_eq!(bench.reason(client), Some(DisconnectReason::Overrun));
    assert_eq!(bench.reason(other), None);
}

#[test]
fn what_storage_was_not_asked_for_in_an_earlier_life_of_the_proxy_is_for_other_members() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(&lasting(V5, "c"));
    bench.subscribe(client, NAME, QoS::ExactlyOnce);
    bench.storage.hold_updates = true;
    // What storage is told of this subscription is on its way: the message waits for that.
    bench.send_subscribe(client, "b", QoS::AtLeastOnce);
    deliver(&mut bench, 0..1, QoS::ExactlyOnce);
    let shard = bench.storage.placement.shard_of_topic("a");
    bench.tell(ToWorker::Overrun {
        shard,
        queued: crate::exchange::QueuedFor::Unexpired,
    });
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.reason(client), None);
    let seen = bench.read(client);
    assert!(matches!(seen[..], [Seen::SubAck(..)]), "{seen:?}");
    assert!(bench.storage.kept.sessions[&b"c"[..]].outbound.is_empty());
}
