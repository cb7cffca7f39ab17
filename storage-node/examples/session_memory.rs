//! Measures what sessions without connection cost: each with a filter of its own and one message that waits for it.
//!
//! `session_memory make FILE COUNT` makes them through the core as a proxy does, says what the process uses, and writes
//! their rows to a file. `session_memory restore FILE` puts a core together from that file and says how long it took and
//! what the process uses then, which is what counts for a node that comes back.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use bytes::Bytes;
use freshet_config::StorageConfig;
use freshet_storage_contract::{
    Answer, AttachProxy, AttachSession, ClusterUid, Delivery, DeliveryControl, DeliverySeq, DetachReason,
    EnsureDurable, IncarnationId, Message, MonotonicMs, Operation, PROTOCOL_VERSION, Placement, Position, PublishBatch,
    PublishSeq, PublisherId, QoS, RequestId, SessionChange, SessionEpoch, ShardId, StoredSubscription,
    SubscriptionOptions, SubscriptionStart, Term, UpdateSession,
};
use freshet_storage_core::{Outputs, Restore, StorageCore, StorageSettings};

const SHARDS: u16 = 8;
const PROXY: IncarnationId = IncarnationId(1);
const NOW: MonotonicMs = MonotonicMs(1_000);
/// Sessions that are made together.
const BATCH: u64 = 1_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", file, count] => make(file, count.parse().context("COUNT is a number")?),
        ["restore", file] => restore(file),
        _ => bail!("make FILE COUNT, or restore FILE"),
    }
}

fn settings() -> StorageSettings {
    let config = StorageConfig {
        cluster_uid: "measured".to_owned(),
        shards: SHARDS,
        ..StorageConfig::default()
    };
    StorageSettings {
        recovery_hold_ms: 0,
        sys_interval_ms: 0,
        session_limit: 0,
        session_bytes: u64::MAX,
        interest_bytes: u64::MAX,
        queued_bytes: Some(u64::MAX),
        queued_resident_bytes: u64::MAX,
        ..StorageSettings::new(&config, 7)
    }
}

/// A core and its one proxy.
struct Bench {
    core: StorageCore,
    out: Outputs,
    placement: Placement,
    term: Term,
    requests: u64,
    published: [u64; SHARDS as usize],
    received: [u64; SHARDS as usize],
}

/// What storage has said since the last call.
#[derive(Default)]
struct Heard {
    epochs: Vec<SessionEpoch>,
    starts: Vec<Position>,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let settings = settings();
        let placement = Placement::new(&settings.cluster_uid, SHARDS, &[])?;
        let mut core = Restore::new(settings)?.finish(Term(1), NOW);
        let mut out = Outputs::new();
        let attach = AttachProxy {
            cluster_uid: ClusterUid("measured".to_owned()),
            incarnation: PROXY,
            proxy_name: "proxy".to_owned(),
            protocol_version: PROTOCOL_VERSION,
            features: Vec::new(),
            highest_term: Term(0),
            resume: Vec::new(),
        };
        core.attach(&attach, NOW, &mut out)?;
        let term = core.term();
        let mut bench = Self {
            core,
            out,
            placement,
            term,
            requests: 0,
            published: [0; SHARDS as usize],
            received: [0; SHARDS as usize],
        };
        bench.control(DeliveryControl::Credit { bytes: u64::MAX >> 1 });
        Ok(bench)
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn operate(&mut self, operation: Operation) {
        self.core.handle(PROXY, operation, NOW, &mut self.out);
    }

    fn control(&mut self, control: DeliveryControl) {
        self.core.handle_control(PROXY, control, NOW, &mut self.out);
    }

    /// Flushes everything, and hears and acknowledges what is said.
    fn turn(&mut self) -> Heard {
        loop {
            let mut through: Vec<(ShardId, Position)> = Vec::new();
            for (shard, position, _) in self.core.take_records() {
                match through.last_mut() {
                    Some((last, highest)) if *last == shard => *highest = position,
                    _ => through.push((shard, position)),
                }
            }
            if through.is_empty() {
                break;
            }
            self.core.flushed(&through, NOW, &mut self.out);
        }
        let mut heard = Heard::default();
        for frame in self.out.drain_proxies().collect::<Vec<_>>() {
            heard
                .epochs
                .extend(frame.answers.iter().filter_map(|answer| match answer {
                    Answer::SessionAttached { epoch, .. } => Some(*epoch),
                    _ => None,
                }));
            for delivery in frame.deliveries {
                self.received[usize::from(delivery.shard.0)] = delivery.seq.0;
                if let Delivery::Started { position, .. } = delivery.delivery {
                    heard.starts.push(position);
                }
            }
        }
        for shard in 0..SHARDS {
            let seq = DeliverySeq(self.received[usize::from(shard)]);
            if seq > DeliverySeq(0) {
                let (shard, term) = (ShardId(shard), self.term);
                self.control(DeliveryControl::Acknowledge { shard, term, seq });
            }
        }
        heard
    }

    /// Makes one session after the other of a batch.
    fn make(&mut self, first: u64, count: u64) -> anyhow::Result<()> {
        for number in first..first + count {
            let client_id = Bytes::from(format!("device-{number:08}"));
            let topic = format!("devices/{number:08}/commands");
            let (at, session_shard) = (
                self.placement.shard_of_topic(&topic),
                self.placement.shard_of_client(&client_id),
            );
            let attach = AttachSession {
                request: self.request(),
                client_id: client_id.clone(),
                clean_start: true,
                session_expiry_interval_s: 86_400,
                will: None,
            };
            self.operate(Operation::AttachSession(attach));
            let ensure = EnsureDurable {
                request: self.request(),
                shard: at,
                session_shard,
                topic_filter: Bytes::from(topic.clone()),
            };
            self.operate(Operation::EnsureDurable(ensure));
            let heard = self.turn();
            let (&[epoch], &[position]) = (&heard.epochs[..], &heard.starts[..]) else {
                bail!("session {number} was not made");
            };
            let subscription = StoredSubscription {
                topic_filter: Bytes::from(topic.clone()),
                options: SubscriptionOptions::new(QoS::AtLeastOnce),
                subscription_identifier: None,
                starts: vec![SubscriptionStart { shard: at, position }],
            };
            let update = UpdateSession {
                request: None,
                client_id: client_id.clone(),
                epoch,
                changes: vec![SessionChange::Subscribe(subscription)],
            };
            self.operate(Operation::UpdateSession(update));
            let published = &mut self.published[usize::from(at.0)];
            *published += 1;
            let batch = PublishBatch {
                shard: at,
                first: PublishSeq(*published),
                messages: vec![message(topic).into()],
                lasting: None,
            };
            self.operate(Operation::Publish(batch));
            self.operate(Operation::DetachSession {
                client_id,
                epoch,
                reason: DetachReason::ByClient,
                session_expiry_interval_s: None,
            });
            self.turn();
        }
        // Outcomes are kept until a second renewal proves that they have arrived.
        for _ in 0..2 {
            self.operate(Operation::RenewLease);
            self.turn();
        }
        Ok(())
    }
}

fn message(topic: String) -> Message {
    Message {
        topic_name: Bytes::from(topic),
        payload: Bytes::from(vec![b'x'; 64]),
        qos: QoS::AtLeastOnce,
        retain: false,
        publisher: PublisherId(1),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

fn make(file: &str, count: u64) -> anyhow::Result<()> {
    let before = resident_bytes()?;
    let mut bench = Bench::new()?;
    let mut file = BufWriter::new(File::create(file)?);
    let mut rows: Vec<(ShardId, Bytes, Option<Bytes>)> = Vec::new();
    let mut written = (0_u64, 0_u64);
    for first in (0..count).step_by(usize::try_from(BATCH)?) {
        bench.make(first, BATCH.min(count - first))?;
    }
    let used = resident_bytes()? - before;
    println!(
        "{count} sessions: {} MiB, {} bytes each",
        used >> 20,
        used / count.max(1)
    );
    loop {
        let done = bench
            .core
            .take_changes(10_000, |shard, key, value| rows.push((shard, key, value)));
        for (shard, key, value) in rows.drain(..) {
            let Some(value) = value else { continue };
            file.write_all(&shard.0.to_le_bytes())?;
            for part in [&key, &value] {
                file.write_all(&u32::try_from(part.len())?.to_le_bytes())?;
                file.write_all(part)?;
            }
            written = (written.0 + 1, written.1 + (key.len() + value.len()) as u64);
        }
        if done.is_some() {
            break;
        }
    }
    file.flush()?;
    println!("{} rows of {} MiB", written.0, written.1 >> 20);
    Ok(())
}

fn restore(file: &str) -> anyhow::Result<()> {
    let before = resident_bytes()?;
    let mut file = BufReader::new(File::open(file)?);
    let mut restore = Restore::new(settings())?;
    let (started, mut rows) = (Instant::now(), 0_u64);
    let mut shard = [0; 2];
    while file.read_exact(&mut shard).is_ok() {
        let mut part = || -> anyhow::Result<Vec<u8>> {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            let mut part = vec![0; usize::try_from(u32::from_le_bytes(length))?];
            file.read_exact(&mut part)?;
            Ok(part)
        };
        let (key, value) = (part()?, part()?);
        restore.row(ShardId(u16::from_le_bytes(shard)), key.into(), &value)?;
        rows += 1;
    }
    let core = restore.finish(Term(1), NOW);
    let seconds = started.elapsed().as_secs_f64();
    let used = resident_bytes()? - before;
    let sessions: u64 = core
        .stats()
        .shards
        .iter()
        .map(|shard| shard.gauges.sessions_stored)
        .sum();
    println!("{rows} rows in {seconds:.2} s, {:.0} a second", rows as f64 / seconds);
    println!(
        "{sessions} sessions: {} MiB, {} bytes each",
        used >> 20,
        used / sessions.max(1)
    );
    Ok(())
}

/// What the process has in memory, bytes.
fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.context("VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
