//! The registry of a shard: which proxy holds the connection of which client, and who waits to take it over.
//!
//! Data and its bookkeeping; what attaching, taking over and ending mean is in `super::connections`. The registry is
//! soft: proxies name their connections again to a new leader. What outlives them is in `crate::state`.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::{AttachSession, ClientId, MonotonicMs, RequestId, SessionEpoch, Will};
use hashbrown::HashTable;
use slab::Slab;

use super::flapping::Takeovers;
use crate::hash::KeyedHash;
use crate::incarnations::PeerKey;

/// What a session costs beside its client id and will, in bytes.
const SESSION_OVERHEAD_BYTES: u64 = 320;

/// The sessions of a shard.
#[derive(Debug)]
pub(super) struct Registry {
    hash: KeyedHash,
    clients: Slab<Client>,
    index: HashTable<u32>,
    /// Takeovers that are held, or wait for the old proxy: until when, and whose.
    waits: BTreeSet<(MonotonicMs, u32)>,
    bytes: u64,
}

/// A client id in use.
#[derive(Debug)]
pub(super) struct Client {
    /// A copy: what it was decoded from may be large.
    pub(super) id: ClientId,
    pub(super) held: Held,
    waiting: Option<Box<Waiting>>,
    /// There from the first takeover on.
    takeovers: Option<Box<Takeovers>>,
}

/// The present connection.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) peer: PeerKey,
    pub(super) epoch: SessionEpoch,
    /// The attach that it answers; none: the proxy named the session to a new leader.
    pub(super) request: Option<RequestId>,
    pub(super) session_expiry_interval_s: u32,
    /// Where its index stands in the list of its proxy.
    place: u32,
    pub(super) will: Option<Box<Will>>,
}

/// The next connection, while the present one is asked to end, or is not yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) peer: PeerKey,
    pub(super) attach: AttachSession,
    /// Until when it is held, or the proxy of the present one is waited for.
    pub(super) until: MonotonicMs,
    /// That proxy has been asked; until then the takeover is held.
    pub(super) is_asked: bool,
}

impl Registry {
    pub(super) fn new(hash: KeyedHash) -> Self {
        Self {
            hash,
            clients: Slab::new(),
            index: HashTable::new(),
            waits: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Clients that have a session.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Bytes charged for client ids and wills.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn find(&self, client_id: &[u8]) -> Option<u32> {
        let is_it = |at: &u32| self.clients.get(*at as usize).is_some_and(|c| &*c.id == client_id);
        self.index.find(self.hash.of_bytes(client_id), is_it).copied()
    }

    pub(super) fn get(&self, at: u32) -> Option<&Client> {
        self.clients.get(at as usize)
    }

    /// Adds a client that is not there; `list` is the sessions of its proxy.
    pub(super) fn insert(&mut self, client_id: &[u8], mut held: Held, list: &mut Vec<u32>) {
        self.bytes += SESSION_OVERHEAD_BYTES + client_id.len() as u64 + will_bytes(held.will.as_deref());
        held.place = place_behind(list);
        let client = Client {
            id: client_id.into(),
            held,
            waiting: None,
            takeovers: None,
        };
        // Four billion sessions go far beyond their bound.
        let at = u32::try_from(self.clients.insert(client)).unwrap_or(u32::MAX);
        list.push(at);
        let (clients, hash) = (&self.clients, &self.hash);
        let hash_at = |at: &u32| clients.get(*at as usize).map_or(0, |c| hash.of_bytes(&c.id));
        self.index.insert_unique(hash.of_bytes(client_id), at, hash_at);
    }

    /// Puts another connection in the place of the present one, which has left its proxy's list.
    pub(super) fn replace(&mut self, at: u32, held: Held, list: &mut Vec<u32>) {
        let Some(client) = self.clients.get_mut(at as usize) else {
            return;
        };
        self.bytes += will_bytes(held.will.as_deref());
        self.bytes -= will_bytes(client.held.will.as_deref());
        client.held = held;
        client.held.place = place_behind(list);
        list.push(at);
    }

    /// Takes the index of a client's present connection off the list of its proxy.
    pub(super) fn leave_list(&mut self, at: u32, list: &mut Vec<u32>) {
        let Some(place) = self.clients.get(at as usize).map(|c| c.held.place) else {
            return;
        };
        if list.get(place as usize) == Some(&at) {
            list.swap_remove(place as usize);
            if let Some(moved) = list
                .get(place as usize)
                .and_then(|moved| self.clients.get_mut(*moved as usize))
            {
                moved.held.place = place;
            }
        }
    }

    /// The client has changed its Session Expiry Interval in DISCONNECT. It must not begin one (MQTT 5.0, 3.14.2.2.2).
    pub(super) fn set_expiry(&mut self, at: u32, interval_s: u32) {
        if let Some(client) = self.clients.get_mut(at as usize)
            && client.held.session_expiry_interval_s > 0
        {
            client.held.session_expiry_interval_s = interval_s;
        }
    }

    /// Takes the will off the present connection: it has been decided on.
    pub(super) fn take_will(&mut self, at: u32) -> Option<Box<Will>> {
        let will = self.clients.get_mut(at as usize)?.held.will.take();
        self.bytes -= will_bytes(will.as_deref());
        will
    }

    /// Removes a client whose connection has left its proxy's list.
    pub(super) fn remove(&mut self, at: u32) {
        self.take_waiting(at);
        self.take_will(at);
        if let Some(client) = self.clients.try_remove(at as usize) {
            self.bytes -= SESSION_OVERHEAD_BYTES + client.id.len() as u64;
            if let Ok(found) = self
                .index
                .find_entry(self.hash.of_bytes(&client.id), |other| *other == at)
            {
                found.remove();
            }
        }
    }

    /// Lets a connection wait for the present one to end; returns the one that waited before.
    pub(super) fn wait(&mut self, at: u32, waiting: Waiting) -> Option<Waiting> {
        let former = self.take_waiting(at);
        if let Some(client) = self.clients.get_mut(at as usize) {
            self.bytes += will_bytes(waiting.attach.will.as_deref());
            self.waits.insert((waiting.until, at));
            client.waiting = Some(Box::new(waiting));
        }
        former
    }

    /// Counts a takeover. How long it is to be held; none: there have not been many of late.
    pub(super) fn count_takeover(&mut self, at: u32, now: MonotonicMs) -> Option<Duration> {
        let takeovers = &mut self.clients.get_mut(at as usize)?.takeovers;
        takeovers.get_or_insert_default().add(now)
    }

    /// The proxy of the present connection is asked to end it, and waited for.
    pub(super) fn ask_to_end(&mut self, at: u32, until: MonotonicMs) {
        let client = self.clients.get_mut(at as usize);
        if let Some(waiting) = client.and_then(|client| client.waiting.as_mut()) {
            self.waits.remove(&(waiting.until, at));
            waiting.until = until;
            waiting.is_asked = true;
            self.waits.insert((until, at));
        }
    }

    /// Takes the connection that waits.
    pub(super) fn take_waiting(&mut self, at: u32) -> Option<Waiting> {
        let waiting = *self.clients.get_mut(at as usize)?.waiting.take()?;
        self.waits.remove(&(waiting.until, at));
        self.bytes -= will_bytes(waiting.attach.will.as_deref());
        Some(waiting)
    }

    /// When the first takeover has waited long enough.
    pub(super) fn next_wait(&self) -> Option<MonotonicMs> {
        self.waits.first().map(|(until, _)| *until)
    }

    /// A client whose takeover has waited long enough.
    pub(super) fn overdue(&self, now: MonotonicMs) -> Option<u32> {
        self.waits.first().filter(|(until, _)| *until <= now).map(|(_, at)| *at)
    }

    /// Clients whose takeover waits for this proxy.
    pub(super) fn waiting_for(&self, peer: PeerKey) -> Vec<u32> {
        let of_peer = |at: &u32| {
            self.get(*at)
                .is_some_and(|c| c.held.peer == peer && c.is_asked_to_end())
        };
        self.waits.iter().map(|(_, at)| *at).filter(of_peer).collect()
    }
}

impl Client {
    pub(super) fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_deref()
    }

    /// Whether the proxy of the present connection has been asked to end it.
    pub(super) fn is_asked_to_end(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.is_asked)
    }
}

impl Held {
    pub(super) fn new(peer: PeerKey, epoch: SessionEpoch, request: Option<RequestId>) -> Self {
        Self {
            peer,
            epoch,
            request,
            session_expiry_interval_s: 0,
            will: None,
            place: 0,
        }
    }
}

/// Bytes that a new session is charged with.
pub(super) fn session_bytes(client_id: &Bytes, will: Option<&Will>) -> u64 {
    SESSION_OVERHEAD_BYTES + client_id.len() as u64 + will_bytes(will)
}

/// Where the next one stands in the list of a proxy. Four billion go far beyond the bound on sessions.
fn place_behind(list: &[u32]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

fn will_bytes(will: Option<&Will>) -> u64 {
    will.map_or(0, |w| w.message.charged_bytes() as u64)
}
