//! What a shard has of each proxy, in the slots of `crate::incarnations`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use freshet_storage_contract::{
    DeliverySeq, FilterId, IncarnationId, InterestVersion, MonotonicMs, Position, RequestId, SessionEpoch, Term,
};

use super::groups::GroupAt;
use super::interest::PeerFilters;
use super::publisher::Publisher;
use super::reads::Read;
use super::ring::Ring;
use super::until_heard::UntilHeard;
use super::wills::LeftWill;
use crate::hash::NumberMap;
use crate::incarnations::PeerKey;

/// A connection that went elsewhere.
#[derive(Debug)]
pub(crate) struct Superseded {
    pub(crate) client_id: Bytes,
    pub(crate) request: Option<RequestId>,
    /// Its will, until the proxy says how the connection ended.
    pub(super) left: Option<Box<LeftWill>>,
}

impl Superseded {
    fn left_bytes(&self) -> u64 {
        self.left
            .as_ref()
            .map_or(0, |left| left.will.message.charged_bytes() as u64)
    }
}

/// What a proxy owes a leader that begins without knowing what it wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owed {
    /// Term of the leader that has confirmed its filters.
    pub(crate) term: Term,
    /// Publications may have passed them by since.
    pub(crate) has_missed: bool,
}

/// One proxy at one shard.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) key: PeerKey,
    pub(super) incarnation: IncarnationId,
    pub(crate) interest_version: InterestVersion,
    /// Filters that another leader has confirmed and that this one has not been told of, if there may be some.
    pub(crate) owes_interest: Option<Owed>,
    pub(crate) filters: PeerFilters,
    /// Shared subscriptions of which it has members.
    pub(super) groups: NumberMap<FilterId, GroupAt>,
    /// Of these, those that have messages for it while it cannot take deliveries.
    pub(super) stalled: BTreeSet<GroupAt>,
    /// Its interest is confirmed when this entry of the log has been applied.
    pub(super) confirms_behind: Option<Position>,
    pub(crate) ring: Ring,
    /// An entry is on its way that says that publications pass the proxy by.
    pub(super) is_noting: bool,
    pub(crate) publisher: Publisher,
    /// Reads that wait for room in the ring, or for filters that do not fit.
    pub(crate) reads: VecDeque<Read>,
    /// Reads that wait for content which is on disk alone.
    pub(super) loading: usize,
    /// Indexes into the registry of the sessions that the proxy holds, in no order.
    pub(crate) sessions: Vec<u32>,
    /// Connections that went elsewhere without this proxy having confirmed their end.
    pub(crate) superseded: BTreeMap<SessionEpoch, Superseded>,
    /// The same by the attach that was granted: a proxy that did not hear of the grant asks again.
    superseded_requests: BTreeMap<RequestId, SessionEpoch>,
    /// Attaches that a newer connection superseded.
    pub(super) refused: UntilHeard<RequestId>,
    /// Connections that have ended and had a will.
    pub(super) mourned: UntilHeard<SessionEpoch>,
    /// The lease has ended.
    pub(crate) gone: bool,
}

impl Peer {
    /// A proxy that says it has deliveries up to `received` of this term, though nothing is known of it: numbers go on
    /// from there.
    pub(crate) fn new(
        (key, incarnation): (PeerKey, IncarnationId),
        ring_bytes: usize,
        received: DeliverySeq,
        now: MonotonicMs,
    ) -> Self {
        Self {
            key,
            incarnation,
            interest_version: InterestVersion(0),
            owes_interest: None,
            filters: PeerFilters::new(key.slot),
            groups: NumberMap::default(),
            stalled: BTreeSet::new(),
            confirms_behind: None,
            ring: Ring::new(ring_bytes, received, now),
            is_noting: false,
            publisher: Publisher::default(),
            reads: VecDeque::new(),
            loading: 0,
            sessions: Vec::new(),
            superseded: BTreeMap::new(),
            superseded_requests: BTreeMap::new(),
            refused: UntilHeard::default(),
            mourned: UntilHeard::default(),
            gone: false,
        }
    }

    /// Whether it has named something that messages of QoS 1 and 2 can match, or may be about to.
    pub(super) fn may_want_something(&self) -> bool {
        !self.filters.is_empty() || !self.groups.is_empty() || self.owes_interest.is_some()
    }
}

/// The proxies of a shard.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Box<Peer>>>,
    superseded_sessions: u64,
    /// Bytes charged for wills of connections that went elsewhere.
    left_bytes: u64,
}

impl Peers {
    /// A proxy whose lease holds.
    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.any_mut(key).filter(|p| !p.gone)
    }

    /// A proxy, whether its lease holds or not.
    pub(crate) fn any_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.slots
            .get_mut(key.slot as usize)?
            .as_deref_mut()
            .filter(|p| p.key == key)
    }

    /// The proxy in a slot, while its lease holds.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut Peer> {
        self.slots.get_mut(slot as usize)?.as_deref_mut().filter(|p| !p.gone)
    }

    /// Finds or makes the peer of a living incarnation; true: it was known.
    pub(crate) fn get_or_insert(&mut self, key: PeerKey, make: impl FnOnce() -> Peer) -> (&mut Peer, bool) {
        let at = key.slot as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        let slot = &mut self.slots[at];
        let known = slot.as_ref().is_some_and(|p| p.key == key);
        if !known {
            *slot = None;
        }
        (slot.get_or_insert_with(|| Box::new(make())), known)
    }

    /// Whether something of a proxy is here, gone or not.
    pub(crate) fn is_taken(&self, key: PeerKey) -> bool {
        self.slots
            .get(key.slot as usize)
            .is_some_and(|s| s.as_ref().is_some_and(|p| p.key == key))
    }

    pub(crate) fn remove(&mut self, key: PeerKey) {
        if self.is_taken(key) {
            self.forget_superseded(key);
            if let Some(slot) = self.slots.get_mut(key.slot as usize) {
                *slot = None;
            }
        }
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().flatten().map(|p| &**p).filter(|p| !p.gone)
    }

    pub(crate) fn living_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.slots.iter_mut().flatten().map(|p| &mut **p).filter(|p| !p.gone)
    }

    /// Remembers a connection that ended without its proxy having confirmed it. Returns its will when no proxy is left that
    /// could say how.
    pub(super) fn supersede(
        &mut self,
        key: PeerKey,
        epoch: SessionEpoch,
        superseded: Superseded,
    ) -> Option<Box<LeftWill>> {
        let Some(peer) = self.get_mut(key) else {
            return superseded.left;
        };
        if let Some(request) = superseded.request {
            peer.superseded_requests.insert(request, epoch);
        }
        let left_bytes = superseded.left_bytes();
        let former = peer.superseded.insert(epoch, superseded);
        self.superseded_sessions += u64::from(former.is_none());
        self.left_bytes = self.left_bytes + left_bytes - former.map_or(0, |former| former.left_bytes());
        None
    }

    /// The proxy has confirmed the end of a connection, or never knew that it had begun. Returns its will if that has not
    /// been decided on.
    pub(super) fn confirm_superseded(&mut self, key: PeerKey, epoch: SessionEpoch) -> Option<Box<LeftWill>> {
        let peer = self.get_mut(key)?;
        let superseded = peer.superseded.remove(&epoch)?;
        if let Some(request) = superseded.request {
            peer.superseded_requests.remove(&request);
        }
        self.superseded_sessions -= 1;
        self.left_bytes -= superseded.left_bytes();
        superseded.left
    }

    /// The epoch of a connection that went elsewhere, by the attach it answers.
    pub(crate) fn superseded_request(&mut self, key: PeerKey, request: RequestId) -> Option<SessionEpoch> {
        self.get_mut(key)?.superseded_requests.get(&request).copied()
    }

    /// The proxy will confirm nothing any more. Returns how many wills go with that: their clients are connected elsewhere.
    pub(crate) fn forget_superseded(&mut self, key: PeerKey) -> u64 {
        let Some(peer) = self.any_mut(key) else { return 0 };
        let superseded = std::mem::take(&mut peer.superseded);
        peer.superseded_requests.clear();
        self.superseded_sessions -= superseded.len() as u64;
        self.left_bytes -= superseded.values().map(Superseded::left_bytes).sum::<u64>();
        superseded
            .values()
            .filter(|superseded| superseded.left.is_some())
            .count() as u64
    }

    /// Connections whose end was not confirmed, over all proxies.
    pub(crate) fn superseded_sessions(&self) -> u64 {
        self.superseded_sessions
    }

    /// Bytes charged for their wills.
    pub(crate) fn left_bytes(&self) -> u64 {
        self.left_bytes
    }
}
