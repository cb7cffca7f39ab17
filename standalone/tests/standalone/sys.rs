//! The topics below `$SYS`: which there are, what they say, and who may not say anything there.

use std::collections::BTreeMap;

use freshet_mqtt::{QoS, ReasonCode};

use crate::broker::Broker;
use crate::client::{Client, Seen, SeenPublish, V5, V311};
use crate::command_line::Manifest;
use crate::http::metric;

const NUMBERS: [&str; 18] = [
    "bytes/received",
    "bytes/sent",
    "clients/connected",
    "clients/disconnected",
    "clients/expired",
    "clients/maximum",
    "clients/total",
    "messages/received",
    "messages/sent",
    "publish/bytes/received",
    "publish/bytes/sent",
    "publish/messages/dropped",
    "publish/messages/received",
    "publish/messages/sent",
    "retained messages/count",
    "store/messages/bytes",
    "store/messages/count",
    "subscriptions/count",
];
const LOADS: [&str; 5] = [
    "load/connections/1min",
    "load/messages/received/1min",
    "load/messages/sent/1min",
    "load/publish/received/1min",
    "load/publish/sent/1min",
];

fn each_second(name: &str) -> (Broker, Manifest) {
    let manifest = Manifest::new(name, "{observability: {sysInterval: 1s}}");
    let broker = Broker::start(&["--config", manifest.path(), "--workers", "2"]);
    (broker, manifest)
}

/// What a subscriber knows, by topic below `$SYS/broker/`.
struct Watcher {
    client: Client,
    topics: BTreeMap<String, String>,
}

impl Watcher {
    fn start(broker: &Broker, client_id: &str) -> Self {
        let mut client = Client::connect(broker.mqtt, V5, client_id);
        client.subscribe("$SYS/#", QoS::ExactlyOnce);
        let topics = BTreeMap::new();
        Self { client, topics }
    }

    fn next(&mut self) -> SeenPublish {
        let message = self.client.receive();
        assert_eq!(message.qos, QoS::AtMostOnce, "{message:?}");
        let payload = String::from_utf8(message.payload.clone()).unwrap();
        let name = message
            .topic
            .strip_prefix("$SYS/broker/")
            .expect("a topic of the server");
        self.topics.insert(name.to_owned(), payload);
        message
    }

    /// Reads until what is known is as it is expected; the client's deadline ends a test in vain.
    fn until(&mut self, what: &str, is_so: impl Fn(&BTreeMap<String, String>) -> bool) {
        let until = std::time::Instant::now() + crate::client::DEADLINE;
        while !is_so(&self.topics) {
            assert!(std::time::Instant::now() < until, "in vain: {what}: {:?}", self.topics);
            self.next();
        }
    }
}

fn number(topics: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    topics.get(name).map(|text| text.parse().expect("a number"))
}

#[test]
fn all_25_topics_are_there_in_the_form_that_dashboards_read() {
    let (broker, _manifest) = each_second("sys-forms");
    let mut watcher = Watcher::start(&broker, "watcher");
    watcher.until("all topics", |topics| topics.len() == 25);
    let topics = &watcher.topics;
    assert_eq!(
        topics["version"],
        concat!("freshet version ", env!("CARGO_PKG_VERSION"))
    );
    let seconds = topics["uptime"].strip_suffix(" seconds").expect("seconds");
    assert!(seconds.parse::<u64>().is_ok(), "{seconds}");
    for name in NUMBERS {
        assert!(topics[name].parse::<u64>().is_ok(), "{name}: {}", topics[name]);
    }
    for name in LOADS {
        let (whole, fraction) = topics[name].split_once('.').expect("two digits behind the point");
        assert!(
            whole.parse::<u64>().is_ok() && fraction.len() == 2,
            "{name}: {}",
            topics[name]
        );
    }
    // Whoever comes later is told at once, by what is retained.
    let mut late = Watcher::start(&broker, "late");
    while late.topics.len() < 25 {
        let message = late.next();
        // The others may change just now.
        assert!(message.retain || !message.topic.ends_with("version"), "{message:?}");
    }
}

#[test]
fn numbers_follow_what_clients_do() {
    let (broker, _manifest) = each_second("sys-numbers");
    let mut watcher = Watcher::start(&broker, "watcher");
    watcher.until("the watcher alone", |t| {
        number(t, "clients/connected") == Some(1) && number(t, "subscriptions/count") == Some(1)
    });
    let mut subscriber = Client::connect(broker.mqtt, V311, "subscriber");
    subscriber.subscribe("a/+", QoS::AtLeastOnce);
    subscriber.subscribe("b", QoS::AtMostOnce);
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for _ in 0..5 {
        publisher.publish("a/b", b"four", QoS::AtLeastOnce, false);
        subscriber.receive();
    }
    publisher.publish("a/kept", b"kept", QoS::AtLeastOnce, true);
    subscriber.receive();
    watcher.until("what they have done", |t| {
        number(t, "clients/connected") == Some(3)
            && number(t, "clients/maximum") == Some(3)
            && number(t, "subscriptions/count") == Some(3)
            && number(t, "publish/messages/received") == Some(6)
            && number(t, "publish/bytes/received") == Some(24)
            && number(t, "publish/bytes/sent") >= Some(24)
            && number(t, "retained messages/count") == Some(1)
            && t.get("load/publish/received/1min").is_some_and(|load| load != "0.00")
    });
    subscriber.disconnect();
    publisher.disconnect();
    watcher.until("they have gone", |t| {
        number(t, "clients/connected") == Some(1)
            && number(t, "clients/maximum") == Some(3)
            && number(t, "subscriptions/count") == Some(1)
    });
    assert_eq!(number(&watcher.topics, "publish/messages/received"), Some(6));
}

#[test]
#[cfg_attr(false, shows("5.0:4.7.2-1", "3.1.1:4.7.2-1"))]
fn no_wildcard_at_the_first_level_stands_for_sys_and_no_client_publishes_there() {
    let (broker, _manifest) = each_second("sys-closed");
    let mut others = [("of-5.0", V5), ("of-3.1.1", V311)].map(|(client_id, version)| {
        let mut client = Client::connect(broker.mqtt, version, client_id);
        client.subscribe("#", QoS::AtMostOnce);
        client.subscribe("+/broker/uptime", QoS::AtMostOnce);
        client
    });
    let mut watcher = Watcher::start(&broker, "watcher");
    watcher.until("all topics", |topics| topics.len() == 25);
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for topic_name in ["$SYS/broker/version", "$SYS"] {
        let id = publisher.begin_publish(topic_name, b"forged", QoS::AtLeastOnce, true);
        let code = publisher.until(|seen| match seen {
            Seen::PubAck(of, code) if *of == id => Some(*code),
            _ => None,
        });
        assert_eq!(code, ReasonCode::NotAuthorized);
    }
    publisher.begin_publish("$SYS/broker/version", b"forged", QoS::AtMostOnce, true);
    // 3.1.1 has no word for a refusal: acknowledged, and not passed on.
    let mut old = Client::connect(broker.mqtt, V311, "old");
    old.publish("$SYS/broker/version", b"forged", QoS::AtLeastOnce, true);
    publisher.publish("a", b"last", QoS::AtLeastOnce, false);
    for client in &mut others {
        let message = client.receive();
        assert_eq!((&*message.topic, &message.payload[..]), ("a", &b"last"[..]));
    }
    assert_eq!(
        metric(
            broker.admin,
            "freshet_proxy_publishes_refused_total{reason=\"not_authorized\"}"
        ),
        4.0
    );
    let mut late = Watcher::start(&broker, "late");
    late.until("all topics", |topics| topics.len() == 25);
    assert!(late.topics["version"].starts_with("freshet version "));
}
