//! Which lives of proxies there are: their leases, and the link each of them has at present.
//!
//! The meta part of a node: shards keep what is theirs of an incarnation in a slot of the same number. Leaves out what
//! shards do when a lease ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use freshet_storage_contract::{IncarnationId, MonotonicMs};
use slab::Slab;

use crate::inspect::ProxyView;

/// Incarnations that are remembered after their end, so that they are refused by name.
const REMEMBERED_AFTER_END: usize = 1_024;

/// Names an incarnation within this node. Slots are used again, generations are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// One life of a proxy.
#[derive(Debug)]
pub(crate) struct Incarnation {
    pub(crate) id: IncarnationId,
    pub(crate) proxy_name: String,
    key: PeerKey,
    lease_ends: MonotonicMs,
    /// The lease has ended; shards are still clearing up.
    gone: bool,
    linked: bool,
    credit_bytes: i64,
}

impl Incarnation {
    /// As people look at it.
    pub(crate) fn view(&self, now: MonotonicMs) -> ProxyView {
        ProxyView {
            name: self.proxy_name.clone(),
            incarnation: self.id.to_string(),
            linked: self.linked,
            lease_ms: u64::try_from(self.lease_ends.since(now).as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Which proxies have leases, by the names that they attached with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyLeases {
    /// Those of which some incarnation has a lease that holds.
    pub held: BTreeSet<String>,
    /// Those whose last incarnation is gone. Only the last 1,024 incarnations that ended are remembered.
    pub lost: BTreeSet<String>,
}

/// The incarnations of a node.
#[derive(Debug, Default)]
pub(crate) struct Incarnations {
    slots: Slab<Incarnation>,
    by_id: BTreeMap<IncarnationId, PeerKey>,
    /// Ids and names, the oldest first.
    ended: VecDeque<(IncarnationId, String)>,
    last_generation: u32,
}

impl Incarnations {
    /// The living incarnation of this name.
    pub(crate) fn find(&self, id: IncarnationId) -> Option<PeerKey> {
        self.by_id.get(&id).copied()
    }

    /// Whether the incarnation is known to have ended.
    pub(crate) fn has_ended(&self, id: IncarnationId) -> bool {
        self.ended.iter().any(|(ended, _)| *ended == id)
    }

    pub(crate) fn get(&self, key: PeerKey) -> Option<&Incarnation> {
        self.slots.get(key.slot as usize).filter(|i| i.key == key && !i.gone)
    }

    fn get_mut(&mut self, key: PeerKey) -> Option<&mut Incarnation> {
        self.slots
            .get_mut(key.slot as usize)
            .filter(|i| i.key == key && !i.gone)
    }

    /// Takes a new incarnation in.
    pub(crate) fn begin(&mut self, id: IncarnationId, proxy_name: &str, lease_ends: MonotonicMs) -> PeerKey {
        self.last_generation = self.last_generation.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        // As many as proxies have lived within some seconds.
        let slot = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        let key = PeerKey {
            slot,
            generation: self.last_generation,
        };
        entry.insert(Incarnation {
            id,
            proxy_name: proxy_name.to_owned(),
            key,
            lease_ends,
            gone: false,
            linked: false,
            credit_bytes: 0,
        });
        self.by_id.insert(id, key);
        key
    }

    /// A link is there. Credits of an earlier one count no more.
    pub(crate) fn link(&mut self, key: PeerKey, lease_ends: MonotonicMs) {
        if let Some(incarnation) = self.get_mut(key) {
            incarnation.linked = true;
            incarnation.credit_bytes = 0;
            incarnation.lease_ends = lease_ends;
        }
    }

    /// The link is gone; the lease goes on. False: there was none.
    pub(crate) fn unlink(&mut self, key: PeerKey) -> bool {
        self.get_mut(key).is_some_and(|i| {
            i.credit_bytes = 0;
            std::mem::take(&mut i.linked)
        })
    }

    pub(crate) fn is_linked(&self, key: PeerKey) -> bool {
        self.get(key).is_some_and(|i| i.linked)
    }

    pub(crate) fn renew(&mut self, key: PeerKey, lease_ends: MonotonicMs) {
        if let Some(incarnation) = self.get_mut(key) {
            incarnation.lease_ends = lease_ends;
        }
    }

    pub(crate) fn add_credit(&mut self, key: PeerKey, bytes: u64) {
        if let Some(incarnation) = self.get_mut(key) {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            incarnation.credit_bytes = incarnation.credit_bytes.saturating_add(bytes);
        }
    }

    /// Spends credit for a delivery when there is a link and some credit: the last one may overdraw it, or a message
    /// larger than all credit would never leave. What costs nothing needs no credit.
    pub(crate) fn spend(&mut self, key: PeerKey, bytes: usize) -> bool {
        match self.get_mut(key) {
            Some(i) if i.linked && (bytes == 0 || i.credit_bytes > 0) => {
                i.credit_bytes = i.credit_bytes.saturating_sub_unsigned(bytes as u64);
                true
            }
            _ => false,
        }
    }

    /// Whether a delivery that costs something could leave now.
    pub(crate) fn has_credit(&self, key: PeerKey) -> bool {
        self.get(key).is_some_and(|i| i.linked && i.credit_bytes > 0)
    }

    /// Ends the leases that have run out; their slots stay until [`Self::free`].
    pub(crate) fn expire(&mut self, now: MonotonicMs) -> Vec<PeerKey> {
        let expired: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, i)| !i.gone && i.lease_ends <= now)
            .map(|(_, i)| i.key)
            .collect();
        for key in &expired {
            if let Some(incarnation) = self.slots.get_mut(key.slot as usize) {
                incarnation.gone = true;
                self.by_id.remove(&incarnation.id);
                self.ended.push_back((incarnation.id, incarnation.proxy_name.clone()));
            }
        }
        while self.ended.len() > REMEMBERED_AFTER_END {
            self.ended.pop_front();
        }
        expired
    }

    /// Name and link of an incarnation whose lease has just ended.
    pub(crate) fn ended(&self, key: PeerKey) -> Option<(IncarnationId, &str, bool)> {
        let incarnation = self.slots.get(key.slot as usize).filter(|i| i.key == key)?;
        Some((incarnation.id, &incarnation.proxy_name, incarnation.linked))
    }

    /// All shards have cleared up: the slot may be used again.
    pub(crate) fn free(&mut self, key: PeerKey) {
        if self.slots.get(key.slot as usize).is_some_and(|i| i.key == key) {
            let incarnation = self.slots.remove(key.slot as usize);
            if !incarnation.gone {
                self.by_id.remove(&incarnation.id);
            }
        }
    }

    /// Living incarnations.
    pub(crate) fn living(&self) -> impl Iterator<Item = (PeerKey, &Incarnation)> {
        self.slots.iter().filter(|(_, i)| !i.gone).map(|(_, i)| (i.key, i))
    }

    /// Which proxies are alive and which are not, by their names.
    pub(crate) fn proxies(&self) -> ProxyLeases {
        let held: BTreeSet<String> = self.living().map(|(_, i)| i.proxy_name.clone()).collect();
        let ended = self.ended.iter().map(|(_, name)| name);
        let lost = ended.filter(|name| !held.contains(*name)).cloned().collect();
        ProxyLeases { held, lost }
    }

    /// When the next lease ends.
    pub(crate) fn next_end(&self) -> Option<MonotonicMs> {
        self.living().map(|(_, i)| i.lease_ends).min()
    }
}

/// End of a lease that begins now.
pub(crate) fn lease_ends(now: MonotonicMs, ttl_ms: u32) -> MonotonicMs {
    now.plus(Duration::from_millis(u64::from(ttl_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IncarnationId = IncarnationId(1);

    #[test]
    fn a_lease_that_is_renewed_does_not_end() {
        let mut all = Incarnations::default();
        let key = all.begin(A, "proxy-a", MonotonicMs(6_000));
        all.renew(key, MonotonicMs(8_000));
        assert!(all.expire(MonotonicMs(7_999)).is_empty());
        assert_eq!(all.expire(MonotonicMs(8_000)), [key]);
        assert!(all.has_ended(A));
        assert_eq!(all.find(A), None);
    }

    #[test]
    fn a_proxy_is_lost_when_its_last_incarnation_is() {
        let mut all = Incarnations::default();
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<String>>()
        };
        all.begin(A, "proxy-a", MonotonicMs(6_000));
        all.begin(IncarnationId(2), "proxy-b", MonotonicMs(9_000));
        assert_eq!(all.proxies().lost, names(&[]));
        all.expire(MonotonicMs(6_000));
        assert_eq!(
            (all.proxies().held, all.proxies().lost),
            (names(&["proxy-b"]), names(&["proxy-a"]))
        );
        all.begin(IncarnationId(3), "proxy-a", MonotonicMs(12_000));
        assert_eq!(
            (all.proxies().held, all.proxies().lost),
            (names(&["proxy-a", "proxy-b"]), names(&[]))
        );
    }

    #[test]
    fn credit_belongs_to_a_link_and_may_be_overdrawn_once() {
        let mut all = Incarnations::default();
        let key = all.begin(A, "proxy-a", MonotonicMs(6_000));
        all.add_credit(key, 100);
        assert!(!all.spend(key, 1), "no link");
        all.link(key, MonotonicMs(6_000));
        assert!(!all.spend(key, 1), "credit of an earlier link");
        assert!(all.spend(key, 0));
        all.add_credit(key, 10);
        assert!(all.spend(key, 1_000));
        assert!(!all.spend(key, 1));
        all.add_credit(key, 990);
        assert!(!all.has_credit(key));
        all.add_credit(key, 1);
        assert!(all.has_credit(key));
    }

    #[test]
    fn a_slot_that_is_used_again_has_a_key_of_its_own() {
        let mut all = Incarnations::default();
        let first = all.begin(A, "proxy-a", MonotonicMs(1));
        all.expire(MonotonicMs(1));
        all.free(first);
        let second = all.begin(IncarnationId(2), "proxy-b", MonotonicMs(9));
        assert_eq!(first.slot, second.slot);
        assert!(all.get(first).is_none() && all.get(second).is_some());
    }
    #[test]
    fn what_is_freed_before_its_lease_has_ended_leaves_nothing_behind() {
        let mut all = Incarnations::default();
        let first = all.begin(A, "proxy-a", MonotonicMs(1));
        all.free(first);
        assert_eq!(all.find(A), None);
        let second = all.begin(IncarnationId(2), "proxy-b", MonotonicMs(9));
        all.free(first);
        assert_eq!((first.slot, all.find(IncarnationId(2))), (second.slot, Some(second)));
        assert!(all.get(second).is_some(), "an earlier key frees nothing of it");
    }

    #[test]
    fn a_thousand_that_have_ended_are_remembered() {
        let mut all = Incarnations::default();
        let last = REMEMBERED_AFTER_END as u128 + 1;
        for id in (1..=last).map(IncarnationId) {
            let key = all.begin(id, "proxy", MonotonicMs(1));
            all.expire(MonotonicMs(1));
            all.free(key);
        }
        let remembered: Vec<bool> = [1, 2, last].map(|id| all.has_ended(IncarnationId(id))).into();
        assert_eq!(remembered, [false, true, true]);
    }
}
