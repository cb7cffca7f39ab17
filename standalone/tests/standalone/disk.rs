//! A broker with a folder: what it acknowledged is there after `kill -9`.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use freshet_mqtt::{ClientPacket, Connect, PacketId, ProtocolVersion, PubRel, QoS, ReasonCode};

use crate::broker::{Broker, refused};
use crate::client::{Client, Seen, V5, V311};
use crate::command_line::Manifest;
use crate::http::{await_condition, metric};
use crate::sessions::{connect, publish_once};

const BOTH: [ProtocolVersion; 2] = [V5, V311];
const RELIABLE: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A folder that goes with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("freshet-disk-{name}-{}", std::process::id()));
        Self(folder)
    }

    /// A broker that goes on from what is there. It is killed when it is dropped.
    pub(crate) fn start(&self) -> Broker {
        self.start_with(&["--workers", "2"])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(&self, arguments: &[&str]) -> Broker {
        self.start_in(&[], arguments)
    }

    pub(crate) fn start_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Broker {
        Broker::start_in(
            variables,
            &[&["--data-dir", self.0.to_str().unwrap()], arguments].concat(),
        )
    }

    /// Bytes that its files have on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.0).unwrap();
        // A file may be removed while it is looked at.
        let blocks = files.map(|file| file.unwrap().metadata().map_or(0, |file| file.blocks()));
        blocks.sum::<u64>() * 512
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Acknowledges 20 messages, and of QoS 2 waits until they are released.
fn take_20(client: &mut Client, qos: QoS) -> Vec<u8> {
    let mut payloads = Vec::new();
    let mut open = 0;
    while payloads.len() < 20 || open > 0 {
        match client.next() {
            Some(Seen::Publish(publish)) if payloads.len() < 20 => {
                client.acknowledge(&publish);
                payloads.push(publish.payload[0]);
                open += usize::from(qos == QoS::ExactlyOnce);
            }
            Some(Seen::Publish(_)) => {}
            Some(Seen::PubRel(id, _)) => {
                client.complete(id);
                open -= 1;
            }
            other => panic!("{other:?} in place of a message"),
        }
    }
    payloads
}

#[test]
fn what_was_queued_for_a_session_is_there_after_kill_9() {
    let folder = Folder::new("queued");
    let mut broker = folder.start();
    for version in BOTH {
        for qos in RELIABLE {
            let id = format!("{version:?}-{qos:?}");
            let mut subscriber = connect(broker.mqtt, version, &id);
            subscriber.subscribe(&format!("{id}/+"), qos);
            subscriber.disconnect();
            let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
            for number in 0..50 {
                publisher.publish(&format!("{id}/a"), &[number], qos, false);
            }
            drop(broker);
            broker = folder.start();
            let mut subscriber = connect(broker.mqtt, version, &id);
            assert!(subscriber.session_present, "{id}");
            assert_eq!(take_20(&mut subscriber, qos), (0..20).collect::<Vec<_>>(), "{id}");
            drop(broker);
            broker = folder.start();
            // QoS 1 that was acknowledged may come again: cursors are written when there is time. QoS 2 that was released
            // never does.
            let mut subscriber = connect(broker.mqtt, version, &id);
            assert!(subscriber.session_present, "{id}");
            let mut came = subscriber.receive().payload[0];
            assert!(came <= 20 && (qos == QoS::AtLeastOnce || came == 20), "{id}: {came}");
            while came < 49 {
                let next = subscriber.receive().payload[0];
                assert_eq!(next, came + 1, "{id}");
                came = next;
            }
            let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
            publisher.publish(&format!("{id}/b"), &[99], qos, false);
            assert_eq!(subscriber.receive().payload, [99], "{id}: it goes on live");
            subscriber.disconnect();
        }
    }
}

#[test]
fn retained_messages_are_there_after_kill_9_as_the_last_one_said() {
    let folder = Folder::new("retained");
    let broker = folder.start();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for qos in RELIABLE {
        publisher.publish("kept", b"former", qos, true);
        publisher.publish("kept", b"last", qos, true);
        publisher.publish("gone", b"former", qos, true);
        publisher.publish("gone", b"", qos, true);
    }
    drop(broker);
    let broker = folder.start();
    let mut subscriber = Client::connect(broker.mqtt, V5, "subscriber");
    subscriber.subscribe("gone", QoS::AtLeastOnce);
    subscriber.subscribe("kept", QoS::AtLeastOnce);
    let message = subscriber.receive();
    assert_eq!(
        (message.topic.as_str(), message.payload.as_slice()),
        ("kept", &b"last"[..])
    );
}

#[test]
fn a_qos_2_publish_that_is_repeated_after_kill_9_arrives_once() {
    let folder = Folder::new("exactly-once");
    let mut broker = folder.start();
    let packet_id = PacketId::new(7).unwrap();
    let publish = |dup| publish_once(packet_id, dup);
    for version in BOTH {
        let (publisher_id, subscriber_id) = (format!("p-{version:?}"), format!("s-{version:?}"));
        let mut subscriber = connect(broker.mqtt, version, &subscriber_id);
        subscriber.subscribe("a", QoS::ExactlyOnce);
        subscriber.disconnect();
        let mut publisher = connect(broker.mqtt, version, &publisher_id);
        publisher.send(&publish(false));
        assert_eq!(publisher.next(), Some(Seen::PubRec(7, ReasonCode::Success)));
        drop(broker);
        broker = folder.start();
        let mut publisher = connect(broker.mqtt, version, &publisher_id);
        assert!(publisher.session_present);
        publisher.send(&publish(true));
        assert_eq!(publisher.next(), Some(Seen::PubRec(7, ReasonCode::Success)));
        publisher.send(&ClientPacket::PubRel(PubRel::new(packet_id, ReasonCode::Success)));
        assert_eq!(publisher.next(), Some(Seen::PubComp(7, ReasonCode::Success)));
        drop(broker);
        broker = folder.start();
        let mut publisher = connect(broker.mqtt, version, &publisher_id);
        publisher.publish("a", b"end", QoS::ExactlyOnce, false);
        let mut subscriber = connect(broker.mqtt, version, &subscriber_id);
        assert_eq!(subscriber.receive().payload, b"once");
        assert_eq!(subscriber.receive().payload, b"end", "nothing came in between");
        let mut end = Connect::new(version, &subscriber_id);
        end.clean_start = true;
        Client::connect_with(broker.mqtt, &end).0.disconnect();
    }
}

#[test]
fn what_a_checkpoint_has_taken_and_what_came_behind_it_are_there_after_kill_9() {
    let folder = Folder::new("checkpoint");
    let path = folder.0.to_str().unwrap().to_owned();
    let start = || Broker::start(&["--data-dir", &path, "--checkpoint-seconds", "1"]);
    let mut broker = start();
    let mut subscriber = connect(broker.mqtt, V5, "s");
    subscriber.subscribe("a", QoS::ExactlyOnce);
    subscriber.disconnect();
    let mut expected = Vec::new();
    for life in 0..3 {
        let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
        let mut publish = |number: u8| {
            publisher.publish("a", &[number], QoS::ExactlyOnce, false);
            publisher.publish("kept", &[number], QoS::AtLeastOnce, true);
            expected.push(number);
        };
        (0..20).for_each(|number| publish(life * 50 + number));
        let checkpoints = || metric(broker.admin, "freshet_storage_checkpoints_total");
        let before = checkpoints();
        await_condition("a checkpoint was taken", || checkpoints() > before);
        (20..30).for_each(|number| publish(life * 50 + number));
        drop(broker);
        broker = start();
    }
    let mut subscriber = connect(broker.mqtt, V5, "s");
    assert!(subscriber.session_present);
    let received: Vec<_> = (0..expected.len()).map(|_| subscriber.receive().payload[0]).collect();
    assert_eq!(received, expected);
    let mut late = Client::connect(broker.mqtt, V5, "late");
    late.subscribe("kept", QoS::AtLeastOnce);
    assert_eq!(late.receive().payload, [*expected.last().unwrap()]);
}

#[test]
fn messages_older_than_their_bound_are_gone_and_newer_ones_are_there_after_kill_9() {
    let folder = Folder::new("retention");
    let manifest = Manifest::new("retention", "{storage: {retention: {maxAge: 8s}}}");
    let path = folder.0.to_str().unwrap().to_owned();
    let start = || Broker::start(&["--data-dir", &path, "--config", manifest.path()]);
    let broker = start();
    let mut subscriber = connect(broker.mqtt, V5, "s");
    subscriber.subscribe("a", QoS::AtLeastOnce);
    subscriber.disconnect();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    publisher.publish("a", b"old", QoS::AtLeastOnce, true);
    let dropped = || {
        metric(
            broker.admin,
            "freshet_storage_queue_dropped_total{reason=\"retention_age\"}",
        )
    };
    assert!(dropped() < 1.0);
    await_condition("the old message went", || dropped() > 0.0);
    publisher.publish("a", b"new", QoS::AtLeastOnce, false);
    drop(broker);
    let broker = start();
    let mut subscriber = connect(broker.mqtt, V5, "s");
    assert!(subscriber.session_present);
    assert_eq!(subscriber.receive().payload, b"new");
    subscriber.ping();
    let mut late = Client::connect(broker.mqtt, V5, "late");
    late.subscribe("a", QoS::AtLeastOnce);
    assert_eq!(late.receive().payload, b"old", "what is retained is no queue's");
}

#[test]
fn nothing_is_acknowledged_before_it_was_flushed() {
    let folder = Folder::new("flushed");
    let broker = folder.start();
    connect(broker.mqtt, V5, "s").subscribe("a", QoS::AtLeastOnce);
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let flushes = || metric(broker.admin, "freshet_storage_log_flush_seconds_count");
    let before = flushes();
    publisher.publish("a", b"x", QoS::AtLeastOnce, false);
    assert!(flushes() > before);
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = Folder::new("lock");
    let _broker = folder.start();
    let error = refused(&["--data-dir", folder.0.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(error.contains(folder.0.to_str().unwrap()), "{error}");
}

#[test]
fn a_folder_with_a_checkpoint_and_without_its_log_is_refused() {
    let folder = Folder::new("log-gone");
    let path = folder.0.to_str().unwrap().to_owned();
    let broker = Broker::start(&["--data-dir", &path, "--checkpoint-seconds", "1"]);
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    publisher.publish("kept", b"x", QoS::AtLeastOnce, true);
    await_condition("a checkpoint was taken", || {
        metric(broker.admin, "freshet_storage_checkpoints_total") > 0.0
    });
    drop(broker);
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let file = entry.unwrap().path();
        if file.to_str().unwrap().contains("/log-") {
            std::fs::remove_file(file).unwrap();
        }
    }
    for _ in 0..2 {
        let error = refused(&["--data-dir", &path, "--listen", "127.0.0.1:0"]);
        assert!(
            error.contains(&path) && error.contains("log behind it is gone"),
            "{error}"
        );
    }
}
