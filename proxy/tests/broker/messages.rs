//! Messages between clients of two proxies, and between workers of one.

use freshet_mqtt::{Connect, PublishProperties, QoS, UserProperties};

use crate::client::{Client, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn a_message_of_each_qos_crosses_from_one_proxy_to_another() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    for (publisher_speaks, subscriber_speaks) in [(V311, V5), (V5, V311)] {
        let mut subscriber = Client::connect(two.address, subscriber_speaks, "subscriber");
        subscriber.subscribe("a/+/c", QoS::ExactlyOnce);
        let mut publisher = Client::connect(one.address, publisher_speaks, "publisher");
        for qos in ALL_QOS {
            publisher.publish("a/b/c", b"hello", qos, false);
            let message = subscriber.receive();
            assert_eq!(
                (message.topic.as_str(), &message.payload[..], message.qos),
                ("a/b/c", &b"hello"[..], qos)
            );
        }
        publisher.disconnect();
        subscriber.disconnect();
    }
    assert_eq!(two.metric("freshet_proxy_deliveries_sent_total{qos=\"2\"}"), 2.0);
    assert_eq!(two.metric("freshet_proxy_publishes_received_total{qos=\"2\"}"), 0.0);
    assert_eq!(one.metric("freshet_proxy_publishes_received_total{qos=\"2\"}"), 2.0);
}

#[test]
fn a_retained_message_reaches_who_subscribes_later_at_another_proxy() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut publisher = Client::connect(one.address, V5, "publisher");
    publisher.publish("state/lamp", b"on", QoS::AtLeastOnce, true);
    let mut subscriber = Client::connect(two.address, V311, "subscriber");
    subscriber.subscribe("state/#", QoS::AtLeastOnce);
    let message = subscriber.receive();
    assert_eq!(
        (message.topic.as_str(), &message.payload[..], message.retain),
        ("state/lamp", &b"on"[..], true)
    );
    publisher.publish("state/lamp", b"", QoS::AtLeastOnce, true);
    let mut late = Client::connect(two.address, V311, "late");
    late.subscribe("state/#", QoS::AtLeastOnce);
    publisher.publish("state/door", b"open", QoS::AtLeastOnce, false);
    assert_eq!(late.receive().topic, "state/door");
}

#[test]
fn user_properties_pass_and_connack_names_the_proxy() {
    let storage = Storage::start();
    let mut config = proxy_config(&storage);
    config.proxy_in_connack = true;
    let proxy = TestProxy::start("proxy-7", config);
    let (mut client, properties) = Client::connect_with(proxy.address, &Connect::new(V5, "client"));
    assert!(
        properties.contains(&("freshet-proxy".to_owned(), "proxy-7".to_owned())),
        "{properties:?}"
    );
    client.subscribe("t", QoS::AtMostOnce);
    let pairs = [("k", "v")];
    let properties = PublishProperties {
        user_properties: UserProperties::from_pairs(&pairs),
        ..PublishProperties::default()
    };
    client.begin_publish_with("t", b"", QoS::AtMostOnce, false, properties);
    assert_eq!(client.receive().user_properties, [("k".to_owned(), "v".to_owned())]);
}

#[test]
fn a_thousand_messages_arrive_once_and_in_order_at_clients_of_all_workers() {
    const MESSAGES: u32 = 1_000;
    const WINDOW: u32 = 50;
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    // Connections are dealt evenly: both workers of both proxies have some.
    let mut subscribers: Vec<_> = [&one, &two, &one, &two]
        .iter()
        .enumerate()
        .map(|(index, proxy)| {
            let mut subscriber = Client::connect(proxy.address, V311, &format!("subscriber-{index}"));
            subscriber.subscribe("numbers", QoS::AtLeastOnce);
            subscriber
        })
        .collect();
    let reading: Vec<_> = subscribers
        .drain(..)
        .map(|mut subscriber| {
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    assert_eq!(subscriber.receive().payload, number.to_be_bytes());
                }
                subscriber
            })
        })
        .collect();
    let mut publisher = Client::connect(one.address, V311, "publisher");
    let mut unanswered = std::collections::VecDeque::new();
    for number in 0..MESSAGES {
        if unanswered.len() == WINDOW as usize {
            let sent = unanswered.pop_front().unwrap();
            publisher.finish_publish(sent, QoS::AtLeastOnce);
        }
        unanswered.push_back(publisher.begin_publish("numbers", &number.to_be_bytes(), QoS::AtLeastOnce, false));
    }
    for sent in unanswered {
        publisher.finish_publish(sent, QoS::AtLeastOnce);
    }
    for thread in reading {
        // Nothing comes twice: the next answer is that to a ping.
        thread.join().unwrap().ping();
    }
}

#[test]
fn a_large_message_passes_whole_and_one_over_the_maximum_ends_its_connection_only() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut subscriber = Client::connect(two.address, V5, "subscriber");
    subscriber.subscribe("big", QoS::AtLeastOnce);
    let mut publisher = Client::connect(one.address, V5, "publisher");
    let payload: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    publisher.publish("big", &payload, QoS::AtLeastOnce, false);
    assert_eq!(subscriber.receive().payload, payload);
    publisher.begin_publish("big", &vec![0; 2 << 20], QoS::AtLeastOnce, false);
    let answer = publisher.bytes_until_closed();
    assert_eq!(
        crate::client::decode_all(V5, &answer),
        [crate::client::Seen::Disconnect(
            freshet_mqtt::ReasonCode::PacketTooLarge
        )]
    );
    assert_eq!(one.disconnects("packet_too_large"), 1.0);
    subscriber.ping();
}
