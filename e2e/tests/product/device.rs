//! A device that publishes numbered messages for as long as it is asked to and comes back when its connection ends, and
//! one that watches what arrives of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use freshet_mqtt::{
    ClientPacket, Connect, PacketId, PubAck, PubComp, PubRec, PubRel, Publish, PublishProperties, QoS, ReasonCode,
    ServerPacket, Will, WillProperties,
};
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{Client, V5};

/// Between two messages of a device, unless it is told otherwise.
const EVERY: Duration = Duration::from_millis(500);
/// How long a client waits before it comes back, and tries again.
const AGAIN: Duration = Duration::from_millis(300);
/// What nobody has said for so long does not come any more.
const QUIET: Duration = Duration::from_secs(3);
const WILLS: &str = "wills";
/// What devices that listen are subscribed to.
pub(crate) const SETTINGS: &str = "settings";

/// A device with a session that lasts and a will.
pub(crate) struct Device {
    number: u16,
    every: Duration,
    is_listening: bool,
    /// The last message that was begun.
    sequence: u16,
    /// It is known to have arrived, and only its release is not (QoS 2).
    is_received: bool,
}

/// What a device has done.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) number: u16,
    /// Messages that were acknowledged, from 1 on.
    pub(crate) acknowledged: u16,
    pub(crate) interruptions: u32,
    /// CONNECT packets, the first and those that came to nothing included.
    pub(crate) connects: u32,
    /// From each end of a connection to the next CONNACK, without what the device itself waited.
    pub(crate) gaps: Vec<Duration>,
    /// Messages of [`SETTINGS`].
    pub(crate) settings: u32,
}

impl Device {
    /// An even number publishes with QoS 1, an odd one with QoS 2.
    pub(crate) fn new(number: u16) -> Self {
        Self {
            number,
            every: EVERY,
            is_listening: false,
            sequence: 1,
            is_received: false,
        }
    }

    /// With this much time between two messages.
    pub(crate) fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Subscribed, in its session, to [`SETTINGS`].
    pub(crate) fn listening(self) -> Self {
        Self {
            is_listening: true,
            ..self
        }
    }

    /// Publishes until it is asked to end, then goes in order.
    pub(crate) async fn run(mut self, address: SocketAddr, ends: Arc<AtomicBool>) -> Result<Report> {
        let Connected {
            mut client,
            mut connects,
            ..
        } = self.connect(address).await?;
        let mut gaps = Vec::new();
        let mut settings = 0;
        let mut is_repeated = false;
        if self.is_listening {
            client.subscribe_with(SETTINGS, QoS::AtMostOnce).await?;
        }
        loop {
            let outcome = if self.number.is_multiple_of(2) {
                self.publish_once(&mut client, is_repeated).await
            } else {
                self.publish_exactly_once(&mut client, is_repeated).await
            };
            is_repeated = outcome.is_err();
            let mut is_connected = !is_repeated;
            if is_connected {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                self.sequence += 1;
                self.is_received = false;
                is_connected = rest(&mut client, self.every, &mut settings).await;
            }
            if !is_connected {
                let again = self.connect(address).await?;
                client = again.client;
                connects += again.connects;
                gaps.push(again.took);
            }
        }
        let goodbye = freshet_mqtt::Disconnect::new(ReasonCode::Success);
        client.send(&ClientPacket::Disconnect(goodbye)).await?;
        Ok(Report {
            number: self.number,
            acknowledged: self.sequence,
            interruptions: u32::try_from(gaps.len())?,
            connects,
            gaps,
            settings,
        })
    }

    async fn connect(&self, address: SocketAddr) -> Result<Connected> {
        let id = format!("device-{}", self.number);
        let mut connect = Connect::new(V5, &id);
        connect.clean_start = false;
        connect.properties.session_expiry_interval = Some(600);
        connect.will = Some(Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
            topic_name: WILLS,
            payload: id.as_bytes(),
        });
        connect_again(address, &connect).await
    }

    async fn publish_once(&self, client: &mut Client, is_repeated: bool) -> Result<()> {
        let sent = self.send(client, QoS::AtLeastOnce, is_repeated).await?;
        client.acknowledged(sent).await?;
        Ok(())
    }

    async fn publish_exactly_once(&mut self, client: &mut Client, is_repeated: bool) -> Result<()> {
        let packet_id = self.packet_id()?;
        if !self.is_received {
            self.send(client, QoS::ExactlyOnce, is_repeated).await?;
            client
                .until(|packet| match packet {
                    ServerPacket::PubRec(p) if p.packet_id == packet_id => Some(()),
                    _ => None,
                })
                .await?;
            self.is_received = true;
        }
        let release = PubRel::new(packet_id, ReasonCode::Success);
        client.send(&ClientPacket::PubRel(release)).await?;
        client
            .until(|packet| match packet {
                ServerPacket::PubComp(p) if p.packet_id == packet_id => Some(()),
                _ => None,
            })
            .await
    }

    async fn send(&self, client: &mut Client, qos: QoS, dup: bool) -> Result<PacketId> {
        let packet_id = self.packet_id()?;
        client
            .send(&ClientPacket::Publish(Publish {
                dup,
                qos,
                retain: false,
                topic_name: &format!("devices/{}", self.number),
                packet_id: Some(packet_id),
                properties: PublishProperties::default(),
                payload: self.sequence.to_string().as_bytes(),
            }))
            .await?;
        Ok(packet_id)
    }

    fn packet_id(&self) -> Result<PacketId> {
        PacketId::new(self.sequence).context("a packet id of 0")
    }
}

/// Counts what arrives of all devices, once each by the rules of QoS 2.
#[derive(Debug, Default)]
struct Seen {
    /// How often each message of each device has come.
    by_device: BTreeMap<u16, BTreeMap<u16, u32>>,
    /// Wills that were published.
    wills: u32,
    /// Packet ids whose message was counted and not released.
    unreleased: BTreeSet<PacketId>,
}

/// A client with a session that lasts, subscribed to what all devices publish and to their wills.
struct Watcher {
    client: Client,
    address: SocketAddr,
    seen: Seen,
}

/// A watcher at work.
pub(crate) struct Watching {
    /// Devices are silent between two messages, or while storage is away: only when they have ended, silence is the end.
    ends: Arc<AtomicBool>,
    watcher: JoinHandle<Result<Seen>>,
}

impl Watching {
    /// Has subscribed when it returns: whatever is published from then on arrives.
    pub(crate) async fn begin(address: SocketAddr) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let watcher = Watcher::subscribed(address).await?;
        Ok(Self {
            ends: Arc::clone(&ends),
            watcher: tokio::spawn(watcher.run(ends)),
        })
    }
}

/// What the watcher has to answer.
enum Heard {
    Message(PacketId, QoS, String, Vec<u8>),
    Release(PacketId),
    Else,
}

impl Watcher {
    async fn subscribed(address: SocketAddr) -> Result<Self> {
        let mut client = connect(address).await?.client;
        client.subscribe_with("devices/+", QoS::ExactlyOnce).await?;
        client.subscribe_with(WILLS, QoS::ExactlyOnce).await?;
        Ok(Self {
            client,
            address,
            seen: Seen::default(),
        })
    }

    /// Watches until it is to end and nothing has come for a while.
    async fn run(mut self, ends: Arc<AtomicBool>) -> Result<Seen> {
        loop {
            match tokio::time::timeout(QUIET, self.hear()).await {
                Ok(Ok(())) => {}
                // Its session has what comes meanwhile.
                Ok(Err(_)) => self.client = connect(self.address).await?.client,
                Err(_) if ends.load(Ordering::Relaxed) => return Ok(self.seen),
                Err(_) => {}
            }
        }
    }

    async fn hear(&mut self) -> Result<()> {
        let heard = self.client.next_or_arrived(|packet| match packet {
            ServerPacket::Publish(p) => match p.packet_id {
                Some(id) => Heard::Message(id, p.qos, p.topic_name.to_owned(), p.payload.to_vec()),
                None => Heard::Else,
            },
            ServerPacket::PubRel(p) => Heard::Release(p.packet_id),
            _ => Heard::Else,
        });
        let Some(heard) = heard.await? else {
            bail!("the connection has ended");
        };
        match heard {
            Heard::Message(id, qos, topic, payload) => {
                if qos != QoS::ExactlyOnce || self.seen.unreleased.insert(id) {
                    self.seen.count(&topic, &payload)?;
                }
                let answer = if qos == QoS::ExactlyOnce {
                    ClientPacket::PubRec(PubRec::new(id, ReasonCode::Success))
                } else {
                    ClientPacket::PubAck(PubAck::new(id, ReasonCode::Success))
                };
                self.client.send(&answer).await
            }
            Heard::Release(id) => {
                self.seen.unreleased.remove(&id);
                let answer = PubComp::new(id, ReasonCode::Success);
                self.client.send(&ClientPacket::PubComp(answer)).await
            }
            Heard::Else => Ok(()),
        }
    }
}

impl Seen {
    fn count(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        let Some(number) = topic.strip_prefix("devices/") else {
            self.wills += 1;
            return Ok(());
        };
        let sequence: u16 = str::from_utf8(payload)?.parse()?;
        let of_device = self.by_device.entry(number.parse()?).or_default();
        *of_device.entry(sequence).or_default() += 1;
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<Connected> {
    let mut connect = Connect::new(V5, "watcher");
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(600);
    connect_again(address, &connect).await
}

/// A connection, and what it took.
struct Connected {
    client: Client,
    /// CONNECT packets.
    connects: u32,
    /// Without what was waited between them.
    took: Duration,
}

/// Connects, again and again until somebody takes it.
async fn connect_again(address: SocketAddr, connect: &Connect<'_>) -> Result<Connected> {
    let began = Instant::now();
    let mut waited = Duration::ZERO;
    let mut last = None;
    for connects in 1..=100 {
        match Client::connect_with(address, connect).await {
            Ok((client, _)) => {
                return Ok(Connected {
                    client,
                    connects,
                    took: began.elapsed().saturating_sub(waited),
                });
            }
            Err(error) => last = Some(error),
        }
        let waits = Instant::now();
        tokio::time::sleep(AGAIN).await;
        waited += waits.elapsed();
    }
    Err(last.context("never tried")?)
}

/// Waits for so long and counts messages; returns early, and false, when the connection ends.
async fn rest(client: &mut Client, how_long: Duration, messages: &mut u32) -> bool {
    let listens = async {
        let is_message = |packet: &ServerPacket<'_>| matches!(packet, ServerPacket::Publish(_));
        while let Ok(Some(is_message)) = client.next_or_arrived(is_message).await {
            *messages += u32::from(is_message);
        }
    };
    tokio::time::timeout(how_long, listens).await.is_err()
}

/// What became of all that devices had acknowledged.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) reports: Vec<Report>,
    /// Acknowledged and never seen.
    pub(crate) lost: Vec<String>,
    /// Of QoS 2, and seen more than once.
    pub(crate) doubled: Vec<String>,
    /// Wills that were published.
    pub(crate) wills: u32,
}

/// Waits for devices that were asked to end, and compares what they did with what the watcher has seen.
pub(crate) async fn outcome_of(mut devices: JoinSet<Result<Report>>, watching: Watching) -> Result<Outcome> {
    let mut reports = Vec::new();
    while let Some(report) = devices.join_next().await {
        reports.push(report??);
    }
    watching.ends.store(true, Ordering::Relaxed);
    let seen = watching.watcher.await??;
    let (mut lost, mut doubled) = (Vec::new(), Vec::new());
    for Report {
        number, acknowledged, ..
    } in &reports
    {
        let got = seen.by_device.get(number);
        for sequence in 1..=*acknowledged {
            let times = got.and_then(|got| got.get(&sequence)).copied().unwrap_or(0);
            let named = || format!("message {sequence} of {number} came {times} times");
            if times == 0 {
                lost.push(named());
            } else if times > 1 && !number.is_multiple_of(2) {
                // QoS 1 may come again.
                doubled.push(named());
            }
        }
    }
    Ok(Outcome {
        reports,
        lost,
        doubled,
        wills: seen.wills,
    })
}
