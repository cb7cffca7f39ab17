//! Messages within one process, with one worker and with several.

use freshet_mqtt::{QoS, ReasonCode};

use crate::broker::Broker;
use crate::client::{Client, Seen, V5, V311};
use crate::http::{get, metric};
use crate::malformed::send_table;

#[test]
#[cfg_attr(false, shows("5.0:4.2.0-1", "3.1.1:7.1.1-1"))]
fn messages_of_each_qos_pass_between_the_versions_and_among_workers() {
    for workers in ["1", "3"] {
        let broker = Broker::start(&["--workers", workers]);
        let mut subscribers: Vec<_> = (0..6)
            .map(|index| {
                let version = if index % 2 == 0 { V5 } else { V311 };
                let mut subscriber = Client::connect(broker.mqtt, version, &format!("subscriber-{index}"));
                subscriber.subscribe(if index < 3 { "a/+" } else { "a/b" }, QoS::ExactlyOnce);
                subscriber
            })
            .collect();
        let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for number in 0..20_u8 {
                publisher.publish("a/b", &[number], qos, false);
            }
            for subscriber in &mut subscribers {
                for number in 0..20_u8 {
                    let message = subscriber.receive();
                    assert_eq!((&message.payload[..], message.qos), (&[number][..], qos));
                }
            }
        }
        assert_eq!(metric(broker.admin, "freshet_proxy_clients"), 7.0);
        assert_eq!(get(broker.admin, "/readyz").0, 200);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-5", "3.1.1:3.3.1-5", "3.1.1:3.3.1-10"))]
fn retained_messages_are_kept_replaced_and_deleted() {
    let broker = Broker::start(&[]);
    let mut publisher = Client::connect(broker.mqtt, V311, "publisher");
    for (topic, payload) in [
        ("r/1", "old"),
        ("r/2", "two"),
        ("r/1", "new"),
        ("r/3", "three"),
        ("r/3", ""),
    ] {
        publisher.publish(topic, payload.as_bytes(), QoS::AtLeastOnce, true);
    }
    let mut subscriber = Client::connect(broker.mqtt, V5, "subscriber");
    subscriber.subscribe("r/#", QoS::AtLeastOnce);
    let mut kept: Vec<_> = (0..2)
        .map(|_| {
            let message = subscriber.receive();
            assert!(message.retain);
            (message.topic, String::from_utf8(message.payload).unwrap())
        })
        .collect();
    kept.sort();
    let expected = [("r/1", "new"), ("r/2", "two")].map(|(t, p)| (t.to_owned(), p.to_owned()));
    assert_eq!(kept, expected);
    subscriber.ping();
}

#[test]
fn a_second_client_with_the_same_id_takes_over_on_whatever_worker() {
    let broker = Broker::start(&["--workers", "2"]);
    let mut last = Client::connect(broker.mqtt, V5, "same");
    for _ in 0..5 {
        let next = Client::connect(broker.mqtt, V5, "same");
        assert_eq!(last.next(), Some(Seen::Disconnect(ReasonCode::SessionTakenOver)));
        last = next;
    }
    last.ping();
}

#[test]
fn a_broker_that_is_told_to_stop_tells_its_clients_and_ends_well() {
    let broker = Broker::start(&["--workers", "2"]);
    let mut one = Client::connect(broker.mqtt, V5, "one");
    let mut two = Client::connect(broker.mqtt, V311, "two");
    broker.terminate();
    assert_eq!(one.next(), Some(Seen::Disconnect(ReasonCode::ServerShuttingDown)));
    assert_eq!(two.next(), None);
    assert_eq!(broker.exit_code(), Some(0));
}

#[test]
fn each_malformed_input_gets_an_allowed_answer_and_a_good_client_goes_on() {
    let broker = Broker::start(&["--workers", "2"]);
    send_table(broker.mqtt);
}
