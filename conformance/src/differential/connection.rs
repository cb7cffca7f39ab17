//! A connection to a broker: bytes out, packets in, as they come.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use freshet_mqtt::{ProtocolVersion, QoS, ServerPacket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::observe::{Seen, Telling, take};
use crate::message::Version;

/// What a broker may send before somebody looks; far more than any script makes it send.
const READ_BYTES: usize = 16 << 10;

/// The connection; closed without a word when the value goes.
#[derive(Debug)]
pub(crate) struct Connection {
    to_send: mpsc::UnboundedSender<Vec<u8>>,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the broker is gone.
    pub(crate) async fn open(address: SocketAddr, telling: Telling) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no broker at {address}"))?;
        stream.set_nodelay(true).context("no socket option")?;
        let (from_broker, to_broker) = stream.into_split();
        let (to_send, sending) = mpsc::unbounded_channel();
        let (told, seen) = mpsc::unbounded_channel();
        let reader = Reader {
            telling,
            acknowledgements: to_send.clone(),
            topics: BTreeMap::new(),
            told,
        };
        let tasks = [
            tokio::spawn(write(to_broker, sending)),
            tokio::spawn(reader.read(from_broker)),
        ];
        Ok(Self { to_send, seen, tasks })
    }

    /// Sends bytes. A broker that has hung up shows in what is seen.
    pub(crate) fn send(&self, bytes: Vec<u8>) {
        let _ = self.to_send.send(bytes);
    }
}

async fn write(mut to_broker: OwnedWriteHalf, mut sending: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = sending.recv().await {
        if to_broker.write_all(&bytes).await.is_err() {
            // The other half tells what has happened, and this one must not end the connection before.
            break;
        }
    }
    std::future::pending::<()>().await;
}

struct Reader {
    telling: Telling,
    acknowledgements: mpsc::UnboundedSender<Vec<u8>>,
    /// By topic alias.
    topics: BTreeMap<u16, String>,
    told: mpsc::UnboundedSender<Seen>,
}

impl Reader {
    async fn read(mut self, mut from_broker: OwnedReadHalf) {
        let version = match self.telling.version {
            Version::V311 => ProtocolVersion::V311,
            Version::V5 => ProtocolVersion::V5,
        };
        let mut received = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        // A reset is an end like any other: what it lost cannot be told apart from what was never sent.
        while let Ok(bytes @ 1..) = from_broker.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..bytes]);
            while let Some(seen) = take(&mut received, version, |packet| self.look(packet)) {
                if let Some(seen) = seen {
                    let _ = self.told.send(seen);
                }
            }
        }
        let _ = self.told.send(Seen::closed());
    }

    /// Tells a packet, and acknowledges it unless the script does.
    fn look(&mut self, packet: Result<&ServerPacket<'_>, String>) -> Option<Seen> {
        let packet = match packet {
            Ok(packet) => packet,
            Err(text) => {
                return Some(Seen {
                    text,
                    what: super::observe::What::Other,
                });
            }
        };
        let mut topic = String::new();
        match packet {
            ServerPacket::Publish(publish) => {
                topic = self.topic(publish.topic_name, publish.properties.topic_alias.map(u16::from));
                if let Some(id) = publish.packet_id
                    && !self.telling.manual
                {
                    let first = if publish.qos == QoS::ExactlyOnce { 0x50 } else { 0x40 };
                    self.acknowledge(first, id.get());
                }
                // Wildcards at the first level also match what other scripts do meanwhile.
                if !topic.contains(&self.telling.own) {
                    return None;
                }
            }
            ServerPacket::PubRel(pubrel) if !self.telling.manual => {
                self.acknowledge(0x70, pubrel.packet_id.get());
                return None;
            }
            _ => {}
        }
        Some(self.telling.tell(packet, &topic))
    }

    fn topic(&mut self, name: &str, alias: Option<u16>) -> String {
        match alias {
            Some(alias) if name.is_empty() => {
                let unknown = || format!("{}/unknown-alias", self.telling.own);
                self.topics.get(&alias).cloned().unwrap_or_else(unknown)
            }
            Some(alias) => {
                self.topics.insert(alias, name.to_owned());
                name.to_owned()
            }
            None => name.to_owned(),
        }
    }

    fn acknowledge(&self, first: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        let _ = self.acknowledgements.send(vec![first, 2, high, low]);
    }
}
