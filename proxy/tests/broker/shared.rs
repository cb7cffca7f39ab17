//! Shared subscriptions whose members are at different proxies.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use freshet_mqtt::{ClientPacket, Connect, QoS, ReasonCode};

use crate::client::{Client, DEADLINE, Seen, V5};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::await_condition;

const FILTER: &str = "$share/g/a/#";

fn member(proxy: &TestProxy, client_id: &str) -> Client {
    let mut client = Client::connect(proxy.address, V5, client_id);
    client.subscribe(FILTER, QoS::AtLeastOnce);
    client
}

/// Payloads that each member gets, once `count` messages have come to them all together.
fn collect(members: &mut [Client], count: usize) -> Vec<Vec<u8>> {
    let mut payloads = vec![Vec::new(); members.len()];
    let until = Instant::now() + DEADLINE;
    while payloads.iter().map(Vec::len).sum::<usize>() < count {
        assert!(Instant::now() < until, "{payloads:?} of {count}");
        for (member, payloads) in members.iter_mut().zip(&mut payloads) {
            while let Some(seen) = member.next_within(Duration::from_millis(5)) {
                let Some(Seen::Publish(publish)) = seen else {
                    panic!("{seen:?} in place of a message")
                };
                member.acknowledge(&publish);
                payloads.push(publish.payload[0]);
            }
        }
    }
    for member in members {
        member.send(&ClientPacket::PingReq);
        assert_eq!(member.next(), Some(Seen::PingResp), "nothing comes twice");
    }
    payloads
}

fn sorted(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut all = payloads.concat();
    all.sort_unstable();
    all
}

#[test]
fn each_message_goes_to_one_member_at_one_proxy() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut publisher = Client::connect(one.address, V5, "publisher");
    let mut members: Vec<_> = (0..6)
        .map(|index| member([&one, &two][index % 2], &format!("member-{index}")))
        .collect();
    for number in 0..240 {
        publisher.publish("a/b", &[number], QoS::AtLeastOnce, false);
    }
    let payloads = collect(&mut members, 240);
    assert_eq!(sorted(&payloads), (0..240).collect::<Vec<_>>());
    assert!(payloads.iter().all(|of| of.len() >= 15), "{payloads:?}");
}

#[test]
fn a_proxy_that_stops_gives_back_what_its_members_have_not_acknowledged() {
    let storage = Storage::start();
    let mut one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut publisher = Client::connect(two.address, V5, "publisher");
    let mut leaving = member(&one, "leaving");
    for number in 0..10 {
        publisher.publish("a/b", &[number], QoS::AtLeastOnce, false);
    }
    for number in 0..10 {
        let Some(Seen::Publish(publish)) = leaving.next() else {
            panic!("no message")
        };
        assert_eq!(publish.payload, [number]);
        if number == 4 {
            leaving.acknowledge(&publish);
        }
    }
    leaving.ping();
    let mut others = [member(&two, "other")];
    one.stop();
    assert_eq!(leaving.next(), Some(Seen::Disconnect(ReasonCode::ServerShuttingDown)));
    let payloads = collect(&mut others, 9);
    assert_eq!(sorted(&payloads), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
}

#[test]
fn a_member_whose_session_outlives_its_connection_goes_on_at_another_proxy() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut publisher = Client::connect(two.address, V5, "publisher");
    let mut lasting = Connect::new(V5, "member");
    lasting.clean_start = false;
    lasting.properties.session_expiry_interval = Some(600);
    let mut at_one = Client::connect_with(one.address, &lasting).0;
    at_one.subscribe(FILTER, QoS::AtLeastOnce);
    at_one.disconnect();
    for number in 0..20 {
        publisher.publish("a/b", &[number], QoS::AtLeastOnce, false);
    }
    let mut at_two = Client::connect_with(two.address, &lasting).0;
    assert!(at_two.session_present);
    for number in 0..20 {
        assert_eq!(at_two.receive().payload, [number]);
    }
    at_two.ping();
}

#[test]
fn a_group_whose_members_have_no_room_waits_and_costs_the_proxy_nothing_else() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let mut publisher = Client::connect(one.address, V5, "publisher");
    let mut narrow = Connect::new(V5, "member");
    narrow.properties.receive_maximum = NonZeroU16::new(2);
    let mut member = Client::connect_with(one.address, &narrow).0;
    member.subscribe(FILTER, QoS::AtLeastOnce);
    member.subscribe("own", QoS::AtLeastOnce);
    // Its window is full of something else: storage cannot know, and is told.
    for number in [100, 101] {
        publisher.publish("own", &[number], QoS::AtLeastOnce, false);
    }
    let mut next = || match member.next() {
        Some(Seen::Publish(publish)) => publish,
        other => panic!("{other:?}"),
    };
    let own = [next(), next()];
    for number in 0..50 {
        publisher.publish(&format!("a/{number}"), &[number], QoS::AtLeastOnce, false);
    }
    for publish in &own {
        member.acknowledge(publish);
    }
    let payloads = collect(&mut [member], 50);
    assert_eq!(sorted(&payloads), (0..50).collect::<Vec<_>>());
    assert_eq!(one.metric("freshet_proxy_storage_losses_total"), 0.0);
}

#[test]
fn groups_go_on_after_a_restart_of_storage() {
    let mut storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut publisher = Client::connect(one.address, V5, "publisher");
    let mut members = [member(&one, "first"), member(&two, "second")];
    publisher.publish("a/b", &[0], QoS::AtLeastOnce, false);
    collect(&mut members, 1);
    storage.kill();
    for proxy in [&one, &two] {
        await_condition("the loss is noticed", || {
            proxy.metric("freshet_proxy_storage_attached") == 0.0
        });
    }
    storage.start_again();
    for number in 1..=50 {
        publisher.publish("a/b", &[number], QoS::AtLeastOnce, false);
    }
    let payloads = collect(&mut members, 50);
    assert_eq!(sorted(&payloads), (1..=50).collect::<Vec<_>>());
}
