//! How proxies' links and lives begin and end.

use freshet_storage_contract::{
    AttachProxy, AttachRefusal, Attached, Feature, IncarnationId, MonotonicMs, PROTOCOL_VERSION, REPORTS_FEATURE,
    SESSIONS_FEATURE, SHARED_SUBSCRIPTIONS_FEATURE, ShardId, Term,
};

use super::StorageCore;
use crate::facts::{LinkFault, StorageFact};
use crate::incarnations::{PeerKey, lease_ends};
use crate::outputs::Outputs;

/// Lowest protocol version that is spoken.
const LOWEST_VERSION: u32 = 1;
/// Features beyond the base of the protocol version.
const FEATURES: [&str; 3] = [SESSIONS_FEATURE, SHARED_SUBSCRIPTIONS_FEATURE, REPORTS_FEATURE];

impl StorageCore {
    /// A link is there: both of its streams have brought this frame. To be called once per link; an earlier link of
    /// the incarnation has ended with it, and what `out` held for that one is dropped. The shell sends the result
    /// before anything of `out`.
    ///
    /// # Errors
    /// [`AttachRefusal`]: the shell sends it and closes the link.
    pub fn attach(
        &mut self,
        attach: &AttachProxy,
        now: MonotonicMs,
        out: &mut Outputs,
    ) -> Result<Attached, AttachRefusal> {
        if let Err(refusal) = self.check_attach(attach) {
            self.totals.attaches_refused += 1;
            let (incarnation, proxy_name) = (attach.incarnation, attach.proxy_name.clone());
            out.fact(StorageFact::AttachRefused {
                incarnation,
                proxy_name,
                refusal: refusal.clone(),
            });
            return Err(refusal);
        }
        if attach.highest_term > self.term {
            self.raise_term(attach.highest_term, now, out);
        }
        let ends = lease_ends(now, self.settings.lease_ttl_ms);
        let known = self.incarnations.find(attach.incarnation);
        let key = known.unwrap_or_else(|| self.incarnations.begin(attach.incarnation, &attach.proxy_name, ends));
        if known.is_some() {
            self.unlink(key, now, out);
        }
        out.discard(attach.incarnation);
        self.incarnations.link(key, ends);
        self.next_lease_check = Some(self.next_lease_check.map_or(ends, |check| check.min(ends)));
        out.fact(StorageFact::ProxyAttached {
            incarnation: attach.incarnation,
            proxy_name: attach.proxy_name.clone(),
            resumed: known.is_some(),
        });
        let mut attachments = Vec::with_capacity(self.shards.len());
        let (shards, mut turn) = self.turn(now, out);
        for (id, shard) in (0..).map(ShardId).zip(shards) {
            let resume = attach.resume.iter().find(|r| r.shard == id);
            attachments.push(shard.attach(key, resume, &mut turn));
            shard.send(key, &mut turn);
        }
        let known_feature = |feature: &&Feature| FEATURES.contains(&feature.0.as_str());
        Ok(Attached {
            protocol_version: attach.protocol_version.min(PROTOCOL_VERSION),
            features: attach.features.iter().filter(known_feature).cloned().collect(),
            lease_ttl_ms: self.settings.lease_ttl_ms,
            shards: self.settings.shards,
            placement_rules: self.settings.placement_rules.clone(),
            attachments,
        })
    }

    fn check_attach(&self, attach: &AttachProxy) -> Result<(), AttachRefusal> {
        if attach.cluster_uid != self.settings.cluster_uid {
            return Err(AttachRefusal::ForeignCluster {
                expected: self.settings.cluster_uid.0.clone(),
                found: attach.cluster_uid.0.clone(),
            });
        }
        // A neighbour that is one version ahead speaks ours as well.
        if !(LOWEST_VERSION..=PROTOCOL_VERSION + 1).contains(&attach.protocol_version) {
            return Err(AttachRefusal::UnknownVersion {
                lowest: LOWEST_VERSION,
                highest: PROTOCOL_VERSION,
                found: attach.protocol_version,
            });
        }
        if self.incarnations.has_ended(attach.incarnation) {
            return Err(AttachRefusal::IncarnationGone {
                incarnation: attach.incarnation,
            });
        }
        Ok(())
    }

    /// The present link of an incarnation has closed. The incarnation lives until its lease ends.
    pub fn detach_link(&mut self, incarnation: IncarnationId, now: MonotonicMs, out: &mut Outputs) {
        if let Some(key) = self.incarnations.find(incarnation)
            && self.incarnations.is_linked(key)
        {
            self.unlink(key, now, out);
        }
    }

    pub(super) fn linked(&self, incarnation: IncarnationId) -> Option<PeerKey> {
        self.incarnations
            .find(incarnation)
            .filter(|key| self.incarnations.is_linked(*key))
    }

    /// A link has ended: its credits count no more, and nobody waits for what it was asked.
    pub(super) fn unlink(&mut self, key: PeerKey, now: MonotonicMs, out: &mut Outputs) {
        self.incarnations.unlink(key);
        self.renewals.retain(|renewal| renewal.key != key);
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.unlink(key, &mut turn);
        }
        self.exchange_effects(now, out);
    }

    /// Ends the link for all shards when one of them has ended it.
    pub(super) fn clear_up_fault(&mut self, key: PeerKey, now: MonotonicMs, out: &mut Outputs) {
        if !self.incarnations.is_linked(key) {
            self.totals.links_ended += 1;
            self.unlink(key, now, out);
        }
    }

    pub(super) fn end_incarnation(&mut self, key: PeerKey, now: MonotonicMs, out: &mut Outputs) {
        self.totals.leases_expired += 1;
        self.sys.forget(key);
        if let Some((incarnation, proxy_name, linked)) = self.incarnations.ended(key) {
            let proxy_name = proxy_name.to_owned();
            if linked {
                self.totals.links_ended += 1;
                out.frame(key.slot, incarnation).close = Some(LinkFault::LeaseExpired);
            }
            out.fact(StorageFact::IncarnationGone {
                incarnation,
                proxy_name,
            });
        }
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.depart(key, &mut turn);
        }
        self.departing.push(key);
    }

    /// Starts a term above one that a proxy has seen: this node's clock went back. Every proxy attaches anew.
    fn raise_term(&mut self, seen: Term, now: MonotonicMs, out: &mut Outputs) {
        self.term = Term(seen.0.saturating_add(1));
        out.fact(StorageFact::TermRaised { term: self.term });
        let living: Vec<(PeerKey, IncarnationId, bool)> = self
            .incarnations
            .living()
            .map(|(key, i)| (key, i.id, self.incarnations.is_linked(key)))
            .collect();
        for (key, id, linked) in living {
            if linked {
                self.totals.links_ended += 1;
                out.discard(id);
                out.frame(key.slot, id).close = Some(LinkFault::TermRaised);
            }
            self.incarnations.free(key);
        }
        self.sys.restart();
        self.renewals.clear();
        for key in self.departing.drain(..) {
            self.incarnations.free(key);
        }
        let term = self.term;
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.restart(term, &mut turn);
        }
    }
}
