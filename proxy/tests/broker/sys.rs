//! The topics below `$SYS` of a cluster of two proxies: published once, and about both.

use std::collections::BTreeMap;
use std::time::Instant;

use freshet_config::StorageConfig;
use freshet_mqtt::QoS;

use crate::client::{Client, DEADLINE, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};

/// What a subscriber has been told, by topic below `$SYS/broker/`.
struct Watcher {
    client: Client,
    last: BTreeMap<String, String>,
    /// What was not retained, in its order.
    live: BTreeMap<String, Vec<String>>,
}

impl Watcher {
    fn start(proxy: &TestProxy, client_id: &str) -> Self {
        let mut client = Client::connect(proxy.address, V5, client_id);
        client.subscribe("$SYS/broker/#", QoS::AtMostOnce);
        Self {
            client,
            last: BTreeMap::new(),
            live: BTreeMap::new(),
        }
    }

    fn until(&mut self, topic: &str, value: &str) {
        let until = Instant::now() + DEADLINE;
        while self.last(topic) != Some(value) {
            assert!(Instant::now() < until, "{topic} is not {value}: {:?}", self.last);
            let message = self.client.receive();
            let name = message.topic.trim_start_matches("$SYS/broker/").to_owned();
            let payload = String::from_utf8(message.payload).unwrap();
            if !message.retain {
                self.live.entry(name.clone()).or_default().push(payload.clone());
            }
            self.last.insert(name, payload);
        }
    }

    fn last(&self, topic: &str) -> Option<&str> {
        self.last.get(topic).map(String::as_str)
    }
}

fn publish(proxy: &TestProxy, client_id: &str, count: usize) -> Client {
    let mut client = Client::connect(proxy.address, V311, client_id);
    for _ in 0..count {
        client.publish("a", b"abc", QoS::AtLeastOnce, false);
    }
    client
}

#[test]
fn two_proxies_are_told_of_once_and_both_are_counted() {
    let storage = Storage::start_with(StorageConfig {
        sys_interval_ms: 1_000,
        ..StorageConfig::default()
    });
    let one = TestProxy::start("one", proxy_config(&storage));
    let mut two = TestProxy::start("two", proxy_config(&storage));
    let mut watchers = [Watcher::start(&one, "at-one"), Watcher::start(&two, "at-two")];
    let clients = [publish(&one, "p1", 7), publish(&two, "p2", 5)];
    for watcher in &mut watchers {
        watcher.until("clients/connected", "4");
        watcher.until("subscriptions/count", "2");
        watcher.until("publish/messages/received", "12");
        watcher.until("publish/bytes/received", "36");
        assert_eq!(watcher.last.len(), 25);
        for (topic, values) in &watcher.live {
            // What has not changed is not said again: two that publish would say everything twice.
            assert!(values.windows(2).all(|two| two[0] != two[1]), "{topic}: {values:?}");
        }
    }
    drop(clients);
    // What a proxy has done is not forgotten with it; its clients are.
    let [mut watcher, other] = watchers;
    drop(other);
    two.stop();
    two.ended(DEADLINE);
    watcher.until("clients/connected", "1");
    watcher.until("subscriptions/count", "1");
    assert_eq!(watcher.last("publish/messages/received"), Some("12"));
    assert_eq!(watcher.last("clients/maximum"), Some("4"));
}
