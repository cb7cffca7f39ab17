//! A session that sleeps while more waits for it than may be in memory: it is on disk, and comes back from there.

use std::collections::VecDeque;
use std::fs;

use freshet_mqtt::QoS;

use crate::broker::Broker;
use crate::client::{Client, V5, V311};
use crate::disk::Folder;
use crate::http::get;
use crate::sessions::connect;

const MIB: u64 = 1 << 20;
const PAYLOAD_BYTES: usize = 16 << 10;
/// What may be queued in memory.
const MEMORY_BYTES: u64 = 8 * MIB;
/// What the whole process may take: the broker itself, 64 MiB that no checkpoint has yet, a checkpoint that is being sorted,
/// blocks that are read.
const MOST_RESIDENT_BYTES: u64 = 160 * MIB;
/// The allocator keeps what was freed for five seconds, and how much that is says how fast the machine is.
const AT_ONCE: (&str, &str) = ("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0");
/// Segments of the log, what a merge needs, a checkpoint that is being written.
const DISK_CONSTANT_BYTES: u64 = 640 * MIB;
/// PUBLISH packets without answer.
const WINDOW: usize = 16;

/// A payload that no other message has.
fn payload(number: u64) -> Vec<u8> {
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = (0..PAYLOAD_BYTES / 8).flat_map(|_| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        random.to_le_bytes()
    });
    let mut payload: Vec<u8> = words.collect();
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

/// Bytes of the broker's own memory.
fn memory_bytes(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// Sum of a metric over all shards.
fn of_all_shards(broker: &Broker, name: &str) -> u64 {
    let (_, text) = get(broker.admin, "/metrics");
    let of_shard = text.lines().filter_map(|line| line.strip_prefix(name));
    of_shard
        .filter_map(|line| line.split_once("} ")?.1.parse::<u64>().ok())
        .sum()
}

struct Checked {
    count: u64,
    most_memory_bytes: u64,
}

impl Checked {
    fn look(&mut self, broker: &Broker, folder: &Folder, waiting: u64, moment: &str) {
        let (memory, disk) = (memory_bytes(broker), folder.disk_bytes());
        self.most_memory_bytes = self.most_memory_bytes.max(memory);
        let live = waiting * (PAYLOAD_BYTES as u64 + 100);
        assert!(
            memory < MOST_RESIDENT_BYTES,
            "{moment}: {} MiB of memory for {} MiB that wait",
            memory / MIB,
            live / MIB
        );
        assert!(
            disk < 2 * live + DISK_CONSTANT_BYTES,
            "{moment}: {} MiB on disk for {} MiB that wait",
            disk / MIB,
            live / MIB
        );
    }

    /// Reads and acknowledges messages, which come in order, from `first` on.
    fn receive(&mut self, subscriber: &mut Client, numbers: std::ops::Range<u64>, broker: &Broker, folder: &Folder) {
        for number in numbers {
            let came = subscriber.receive();
            assert!(came.payload == payload(number), "message {number} is another one");
            if number % 2_048 == 0 {
                self.look(broker, folder, self.count, "while it is read");
            }
        }
    }
}

fn sleep_through(waiting_mib: u64, name: &str) {
    let count = waiting_mib * MIB / PAYLOAD_BYTES as u64;
    let folder = Folder::new(name);
    let memory = MEMORY_BYTES.to_string();
    let arguments = ["--queued-memory-bytes", &memory, "--checkpoint-seconds", "5"];
    let start = || folder.start_in(&[AT_ONCE], &arguments);
    let mut checked = Checked {
        count,
        most_memory_bytes: 0,
    };
    let broker = start();
    let mut subscriber = connect(broker.mqtt, V311, "sleeper");
    subscriber.subscribe("deep/+", QoS::AtLeastOnce);
    subscriber.disconnect();

    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut unanswered = VecDeque::new();
    for number in 0..count {
        unanswered.push_back(publisher.begin_publish("deep/a", &payload(number), QoS::AtLeastOnce, false));
        if unanswered.len() == WINDOW {
            let first = unanswered.pop_front().unwrap();
            publisher.finish_publish(first, QoS::AtLeastOnce);
        }
        if number % 2_048 == 0 {
            checked.look(&broker, &folder, number, "while it is published");
        }
    }
    for sent in unanswered {
        publisher.finish_publish(sent, QoS::AtLeastOnce);
    }
    checked.look(&broker, &folder, count, "when all of it waits");

    drop(broker);
    let broker = start();
    checked.look(&broker, &folder, count, "behind a start");
    let resident = of_all_shards(&broker, "freshet_storage_queued_resident_bytes{");
    assert!(
        resident < MEMORY_BYTES + 64 * MIB,
        "{} MiB are in memory",
        resident / MIB
    );
    assert!(of_all_shards(&broker, "freshet_storage_queued_bytes{") > count * PAYLOAD_BYTES as u64);
    let mut subscriber = connect(broker.mqtt, V311, "sleeper");
    assert!(subscriber.session_present);
    checked.receive(&mut subscriber, 0..count / 2, &broker, &folder);

    drop(broker);
    let broker = start();
    let mut subscriber = connect(broker.mqtt, V311, "sleeper");
    assert!(subscriber.session_present);
    // What was acknowledged last may come again: cursors are written when there is time.
    let next = subscriber.receive().payload;
    let next = u64::from_le_bytes(next[..8].try_into().unwrap());
    assert!(next <= count / 2, "message {} is missing", count / 2);
    checked.receive(&mut subscriber, next + 1..count, &broker, &folder);
    Client::connect(broker.mqtt, V5, "publisher").publish("deep/b", b"end", QoS::AtLeastOnce, false);
    assert_eq!(
        subscriber.receive().payload,
        b"end",
        "nothing comes twice, and it goes on live"
    );
    println!(
        "{waiting_mib} MiB waited, {} MiB of memory at most, from message {next} on after the second kill",
        checked.most_memory_bytes / MIB
    );
}

#[test]
fn a_session_that_sleeps_finds_on_disk_what_memory_has_no_room_for_through_kill_9() {
    sleep_through(256, "cold");
}

/// `FRESHET_COLD_MIB=4096 cargo test --release -p freshet --test standalone -- --ignored --nocapture cold`
#[test]
#[ignore = "takes minutes and gigabytes of disk; FRESHET_COLD_MIB says how many"]
fn a_session_that_sleeps_for_long_finds_gigabytes_on_disk_through_kill_9() {
    let mib = std::env::var("FRESHET_COLD_MIB").ok().and_then(|mib| mib.parse().ok());
    sleep_through(mib.unwrap_or(4_096), "cold-large");
}
