//! `rumqttc`, in this process: each client is two tasks, one that obeys and one that turns the library's event loop.
//!
//! The library has a module of its own for each version, and so has this.

mod v311;
mod v5;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Link;
use crate::history::History;
use crate::message::{Command, Connect, Event, Version};

/// What the library is allowed to receive; its own default is less than what scripts send.
const MAX_PACKET_BYTES: u32 = 4 << 20;
/// Requests that wait for the event loop.
const REQUESTS: usize = 2_048;
const LOOPBACK: &str = "127.0.0.1";

/// Makes a client.
pub(super) fn open() -> Link {
    let (commands, mut received) = mpsc::unbounded_channel();
    let events = History::default();
    let told = events.clone();
    tokio::spawn(async move {
        let mut peer = None;
        while let Some(command) = received.recv().await {
            if let Err(error) = obey(&mut peer, command, &told).await {
                told.add(Event::Failed {
                    why: format!("{error:#}"),
                });
            }
        }
    });
    Link { commands, events }
}

/// A client of either version; its connection ends with it.
struct Peer {
    client: Client,
    tags: Tags,
    turning: JoinHandle<()>,
}

enum Client {
    V311(rumqttc::AsyncClient),
    /// With the topic aliases that it has used.
    V5(rumqttc::v5::AsyncClient, BTreeSet<u16>),
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.turning.abort();
    }
}

async fn obey(peer: &mut Option<Peer>, command: Command, events: &History<Event>) -> anyhow::Result<()> {
    if let Command::Connect(connect) = &command {
        *peer = Some(begin(connect, events.clone())?);
        return Ok(());
    }
    let Some(peer) = peer else {
        anyhow::bail!("nothing is connected");
    };
    if let Command::Publish(publish) = &command {
        peer.tags.asked(publish.tag);
    }
    match &mut peer.client {
        Client::V311(client) => v311::obey(client, command).await,
        Client::V5(client, aliases) => v5::obey(client, aliases, command).await,
    }
}

fn begin(connect: &Connect, events: History<Event>) -> anyhow::Result<Peer> {
    let tags = Tags::default();
    let (client, turning) = if connect.version == u8::from(Version::V5) {
        let (client, event_loop) = rumqttc::v5::AsyncClient::new(v5::options(connect)?, REQUESTS);
        let turning = tokio::spawn(v5::turn(event_loop, tags.clone(), events));
        (Client::V5(client, BTreeSet::new()), turning)
    } else {
        let (client, event_loop) = rumqttc::AsyncClient::new(v311::options(connect)?, REQUESTS);
        let turning = tokio::spawn(v311::turn(event_loop, tags.clone(), events));
        (Client::V311(client), turning)
    };
    Ok(Peer { client, tags, turning })
}

/// Which publication an acknowledgement is for: the library tells packet ids, in the order of the requests.
#[derive(Debug, Clone, Default)]
struct Tags(Arc<Mutex<TagState>>);

#[derive(Debug, Default)]
struct TagState {
    asked: VecDeque<u64>,
    sent: HashMap<u16, u64>,
}

impl Tags {
    fn asked(&self, tag: u64) {
        self.with(|state| state.asked.push_back(tag));
    }

    /// A PUBLISH has left; packet id 0 is QoS 0 and needs no answer.
    fn sent(&self, packet_id: u16, events: &History<Event>) {
        let tag = self.with(|state| {
            let tag = state.asked.pop_front()?;
            if packet_id == 0 {
                return Some(tag);
            }
            state.sent.insert(packet_id, tag);
            None
        });
        tell(tag, events);
    }

    /// The exchange of a packet id is over.
    fn answered(&self, packet_id: u16, events: &History<Event>) {
        let tag = self.with(|state| state.sent.remove(&packet_id));
        tell(tag, events);
    }

    fn with<T>(&self, change: impl FnOnce(&mut TagState) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tell(tag: Option<u64>, events: &History<Event>) {
    if let Some(tag) = tag {
        events.add(Event::Published { tag, reason_code: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_find_their_publication_in_any_order() {
        let (tags, events) = (Tags::default(), History::default());
        (1..=3).for_each(|tag| tags.asked(tag));
        tags.sent(7, &events);
        tags.sent(8, &events);
        tags.sent(0, &events);
        tags.answered(8, &events);
        tags.answered(7, &events);
        let told: Vec<u64> = events.look(|all| {
            let tags = all.iter().filter_map(|event| match event {
                Event::Published { tag, .. } => Some(*tag),
                _ => None,
            });
            tags.collect()
        });
        assert_eq!(told, [3, 2, 1]);
    }
}
