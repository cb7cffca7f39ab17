//! `freshet admin` against a live broker: what people and machines are told of sessions, queues, shards and the log.

use std::net::TcpListener;
use std::process::{Command, Output};

use freshet_mqtt::{ClientPacket, Connect, PacketId, PubRec, Publish, PublishProperties, QoS, ReasonCode};
use serde_json::Value;

use crate::broker::Broker;
use crate::client::{Client, Seen, V5};
use crate::disk::Folder;
use crate::http::{await_condition, get};

/// Runs the command, and returns what it writes to standard output.
fn admin(broker: &Broker, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = ask(&format!("http://{}", broker.inspection), arguments);
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success() && stderr.is_empty(), "{arguments:?}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

fn admin_json(broker: &Broker, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&admin(broker, &arguments)).unwrap()
}

/// Runs the command in vain, and returns what it says.
fn refused(url: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = ask(url, arguments);
    assert!(status.code() == Some(1) && stdout.is_empty());
    String::from_utf8(stderr).unwrap()
}

fn ask(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
    command
        .env("FRESHET_ADMIN_URL", url)
        .arg("admin")
        .args(arguments)
        .output()
        .unwrap()
}

/// Connects with a session that outlives the connection.
fn connect(broker: &Broker, client_id: &str) -> Client {
    let mut connect = Connect::new(V5, client_id);
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(600);
    Client::connect_with(broker.mqtt, &connect).0
}

/// A session that has been sent two QoS 2 messages, of which it has acknowledged one with PUBREC, that has begun a QoS 2
/// publication of its own, and that has missed three messages.
fn leave_a_session(broker: &Broker) {
    let mut device = connect(broker, "device-1");
    device.subscribe("jobs/+", QoS::ExactlyOnce);
    device.subscribe("jobs/a", QoS::AtLeastOnce);
    device.subscribe("$share/group/work", QoS::AtLeastOnce);
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    publisher.publish("jobs/b", b"secret", QoS::ExactlyOnce, false);
    publisher.publish("jobs/b", b"secret", QoS::ExactlyOnce, false);
    let mut messages = Vec::new();
    while messages.len() < 2 {
        match device.next() {
            Some(Seen::Publish(message)) => messages.push(message.packet_id.and_then(PacketId::new).unwrap()),
            other => panic!("{other:?} in place of a message"),
        }
    }
    device.send(&ClientPacket::PubRec(PubRec::new(messages[0], ReasonCode::Success)));
    assert_eq!(
        device.next(),
        Some(Seen::PubRel(messages[0].get(), ReasonCode::Success))
    );
    device.send(&ClientPacket::Publish(Publish {
        dup: false,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic_name: "state",
        packet_id: PacketId::new(77),
        properties: PublishProperties::default(),
        payload: b"secret",
    }));
    assert_eq!(device.next(), Some(Seen::PubRec(77, ReasonCode::NoMatchingSubscribers)));
    drop(device);
    await_condition("the connection has ended", || {
        let view = admin_json(broker, &["session", "device-1"]);
        view["connection"].is_null()
    });
    publisher.publish("jobs/a", b"secret", QoS::AtLeastOnce, false);
    publisher.publish("jobs/c", b"secret", QoS::ExactlyOnce, false);
    publisher.publish("work", b"secret", QoS::AtLeastOnce, false);
}

fn by<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|entry| entry[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value} in {list}"))
}

fn shows_the_session(broker: &Broker) {
    let view = admin_json(broker, &["session", "device-1"]);
    let stored = &view["stored"];
    assert_eq!(stored["expiryIntervalS"], 600, "{view}");
    assert!(
        stored["endsInMs"]
            .as_u64()
            .is_some_and(|left| left > 0 && left <= 600_000),
        "{view}"
    );
    let queued = |filter| by(&stored["subscriptions"], "topicFilter", filter)["queued"].as_u64();
    assert_eq!(queued("jobs/a"), Some(1), "{view}");
    assert_eq!(queued("$share/group/work"), Some(1), "{view}");
    // Two in flight and two missed.
    assert_eq!(
        (queued("jobs/+"), &stored["queued"]["messages"]),
        (Some(4), &Value::from(4)),
        "{view}"
    );
    assert_eq!(by(&stored["outbound"], "waitsFor", "PUBCOMP")["qos"], 2);
    assert_eq!(by(&stored["outbound"], "waitsFor", "PUBREC")["qos"], 2);
    assert_eq!(stored["outboundTotal"], 2);
    let inbound = by(&stored["inbound"], "waitsFor", "PUBREL");
    assert_eq!(
        (&inbound["packetId"], &stored["inboundTotal"]),
        (&Value::from(77), &Value::from(1))
    );
    assert!(!view.to_string().contains("secret"));

    let text = admin(broker, &["session", "device-1"]);
    for words in [
        "none: it is offline",
        "4 messages",
        "2 to the client, 1 from it",
        "jobs/+",
        "PUBREL",
        "PUBCOMP",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }

    let queues = admin_json(broker, &["queue", "jobs/+"]);
    let of_queues = |key: &str| {
        queues["queues"]
            .as_array()
            .unwrap()
            .iter()
            .map(|q| q[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(of_queues("messages"), 4, "{queues}");
    let shared = admin_json(broker, &["queue", "$share/group/work"]);
    assert_eq!(
        (&shared["queues"][0]["messages"], &shared["queues"][0]["readers"]),
        (&1.into(), &0.into()),
        "{shared}"
    );
    assert!(admin(broker, &["queue", "jobs/+"]).starts_with("jobs/+: 4 messages in 8 queues\n"));
}

#[test]
fn a_session_is_shown_with_what_is_queued_and_in_flight() {
    let broker = Broker::start(&["--workers", "2"]);
    leave_a_session(&broker);
    shows_the_session(&broker);
    let error = refused(&format!("http://{}", broker.inspection), &["log"]);
    assert!(error.contains("in memory") && error.contains("--data-dir"), "{error}");
}

#[test]
fn with_a_disk_it_is_shown_the_same_after_kill_9_and_the_log_says_where_it_stands() {
    let folder = Folder::new("admin");
    let broker = folder.start();
    leave_a_session(&broker);
    shows_the_session(&broker);
    drop(broker);
    let broker = folder.start();
    shows_the_session(&broker);

    let log = admin_json(&broker, &["log"]);
    assert_eq!(log["shards"].as_array().unwrap().len(), 8, "{log}");
    assert!(
        log["segments"].as_u64() >= Some(1) && log["checkpoint"]["replayBytes"].as_u64() > Some(0),
        "{log}"
    );
    for shard in log["shards"].as_array().unwrap() {
        let at = |mark: &str| shard["positions"][mark].as_str().unwrap().parse::<u64>().unwrap();
        assert!(
            at("proposed") >= at("flushed") && at("flushed") >= at("applied") && at("applied") > 0,
            "{log}"
        );
    }
    let text = admin(&broker, &["log"]);
    assert!(text.contains("Replay:") && text.contains("NOT IN CHECKPOINT"), "{text}");
}

#[test]
fn a_connected_session_names_its_proxy_and_one_that_is_clean_says_so() {
    let broker = Broker::start(&[]);
    let _kept = connect(&broker, "kept");
    let _clean = Client::connect(broker.mqtt, V5, "clean");
    let view = admin_json(&broker, &["session", "kept"]);
    assert_eq!(
        (&view["connection"]["proxy"], &view["connection"]["linked"]),
        (&"standalone".into(), &true.into())
    );
    assert!(view["stored"]["endsInMs"].is_null());
    let view = admin_json(&broker, &["session", "clean"]);
    assert!(view["stored"].is_null() && !view["connection"].is_null(), "{view}");
    assert!(admin(&broker, &["session", "clean"]).contains("ends with its connection"));
    let shards = admin_json(&broker, &["shards"]);
    let connected: u64 = shards["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["connected"].as_u64().unwrap())
        .sum();
    assert_eq!((connected, &shards["proxies"][0]["linked"]), (2, &true.into()));
    assert!(admin(&broker, &["shards"]).contains("UNFLUSHED"));
}

#[test]
fn sessions_are_listed_in_order_up_to_the_limit() {
    let broker = Broker::start(&[]);
    for number in [3, 1, 2] {
        connect(&broker, &format!("dev-{number}")).disconnect();
    }
    connect(&broker, "other\u{1f}\u{e9}").disconnect();
    let ids = |arguments: &[&str]| {
        let page = admin_json(&broker, arguments);
        let ids = page["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["clientId"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    let all = ["dev-1", "dev-2", "dev-3", "other\u{1f}\u{e9}"].map(str::to_owned);
    assert_eq!(ids(&["sessions"]), (all.to_vec(), None));
    assert_eq!(
        ids(&["sessions", "--prefix", "dev-", "--limit", "2"]),
        (all[..2].to_vec(), Some("dev-2".to_owned()))
    );
    assert_eq!(
        ids(&["sessions", "--prefix", "dev-", "--after", "dev-2"]),
        (all[2..3].to_vec(), None)
    );
    let text = admin(&broker, &["sessions", "--limit", "2"]);
    assert!(text.contains("offline") && text.contains("--after \"dev-2\""), "{text}");
    let text = admin(&broker, &["sessions", "--prefix", "other"]);
    assert!(text.contains("other\\u{1f}\u{e9}"), "{text}");
    assert!(admin(&broker, &["sessions", "--prefix", "nobody"]).starts_with("No session"));
}

#[test]
fn what_is_not_there_is_told_with_what_to_do() {
    let broker = Broker::start(&[]);
    let url = format!("http://{}", broker.inspection);
    let error = refused(&url, &["session", "nobody"]);
    assert!(
        error.contains("\"nobody\"") && error.contains("freshet admin sessions"),
        "{error}"
    );
    let error = refused(&url, &["queue", "a/+"]);
    assert!(error.contains("\"a/+\"") && error.contains("outlives"), "{error}");
    // The port of metrics is another one, and shows no client ids.
    let error = refused(&format!("http://{}", broker.admin), &["shards"]);
    assert!(
        error.contains("404") && error.contains("is not the admin port"),
        "{error}"
    );
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(&format!("http://{nowhere}"), &["shards"]);
    assert!(
        error.contains("nothing answers") && error.contains("port-forward"),
        "{error}"
    );
    let port = broker.inspection;
    assert_eq!(get(port, "/admin/session?clientId=nobody").0, 404);
    assert_eq!(get(port, "/admin/session").0, 400);
    assert_eq!(get(port, "/admin/sessions?limit=many").0, 400);
    assert_eq!(get(port, "/admin/sessions?prefx=a").0, 400);
    assert_eq!(get(port, "/metrics").0, 404);
}
