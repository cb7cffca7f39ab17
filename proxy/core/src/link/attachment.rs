//! How the link attaches, and how it goes on after a broken stream, a new leader or a lost lease.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freshet_storage_contract::{
    AttachProxy, Attached, DeliveryControl, Feature, IncarnationId, MonotonicMs, PROTOCOL_VERSION, Placement,
    REPORTS_FEATURE, SESSIONS_FEATURE, SHARED_SUBSCRIPTIONS_FEATURE, ShardAttachment, ShardId, ShardResume,
};

use super::publications::Answered;
use super::shard::ShardLink;
use super::{Lease, Link, LinkOutputs, Violation, published};
use crate::exchange::{QueuedFor, ToWorker};
use crate::planted::planted;

impl Link {
    /// First frame of both streams.
    #[must_use]
    pub fn attach_frame(&self) -> AttachProxy {
        AttachProxy {
            cluster_uid: self.settings.cluster_uid.clone(),
            incarnation: self.incarnation,
            proxy_name: self.settings.proxy_name.clone(),
            protocol_version: PROTOCOL_VERSION,
            features: [SESSIONS_FEATURE, SHARED_SUBSCRIPTIONS_FEATURE, REPORTS_FEATURE]
                .map(|name| Feature(name.to_owned()))
                .to_vec(),
            highest_term: self.highest_term,
            resume: self
                .shards
                .iter()
                .map(|s| {
                    let (term, received) = s.acceptance.resume();
                    let shard = s.shard;
                    ShardResume { shard, term, received }
                })
                .collect(),
        }
    }

    /// Storage has forgotten this life of the proxy: it goes on as a new one, with the same connections.
    pub fn start_incarnation(&mut self, incarnation: IncarnationId) {
        self.incarnation = incarnation;
        // A life that was never attached had nobody to lose anything.
        self.is_reborn |= self.placement.is_some();
        // With its life its leases have ended. What storage had taken note of before is in its sessions.
        self.owed.take_no_more();
        self.leave_groups();
        for shard in &mut self.shards {
            // Deliveries are numbered per incarnation.
            shard.acceptance.forget_terms();
        }
    }

    /// Both streams are open. Sends what storage does not have.
    ///
    /// # Errors
    /// [`Violation`] when the placement cannot be used or is not the one of the first attach.
    pub fn attached(&mut self, attached: &Attached, now: MonotonicMs, out: &mut LinkOutputs) -> Result<(), Violation> {
        let is_first = self.placement.is_none();
        let placement = self.take_placement(attached)?;
        // What was asked while storage was away is kept where it is resumed from below.
        self.turn.clear();
        self.owed.forget_unnamed();
        let mut led_anew = BTreeSet::new();
        for attachment in &attached.attachments {
            if self.resume_shard(attachment, is_first, out)? {
                led_anew.insert(attachment.shard);
            }
        }
        self.is_reborn = false;
        let ttl = Duration::from_millis(u64::from(attached.lease_ttl_ms));
        self.lease = Some(Lease {
            ttl,
            ends: now.plus(ttl),
            next_renewal: now,
            renewal_under_way: None,
        });
        let credit = DeliveryControl::Credit {
            bytes: self.settings.delivery_credit_bytes,
        };
        out.controls.push(credit);
        self.credit_to_give_bytes = 0;
        for shard in &mut self.shards {
            // What was freed belongs to the credit of the old stream.
            shard.acceptance.take_freed_bytes();
        }
        // Changes of sessions before their ends.
        self.turn.extend(self.owed.resume());
        self.turn.extend(self.ensures.resume());
        let naming = &self.naming;
        let shard_of = |client_id: &[u8]| placement.shard_of_client(client_id);
        let is_new = |shard| led_anew.contains(&shard);
        let resumed = self.sessions.resume(shard_of, is_new, |shard| naming.is_awaited(shard));
        self.turn.extend(resumed);
        let has = |name: &str| attached.features.iter().any(|feature| feature.0 == name);
        self.reports.attached(has(REPORTS_FEATURE));
        out.tell_all(&ToWorker::StorageBack {
            placement,
            keeps_sessions: has(SESSIONS_FEATURE),
            shares: has(SHARED_SUBSCRIPTIONS_FEATURE),
        });
        for (worker, asked) in std::mem::take(&mut self.before_placement) {
            self.handle_worker(worker, asked, out);
        }
        Ok(())
    }

    /// A stream broke, or the lease ran out: everything is kept for the next attach.
    pub fn lost(&mut self, out: &mut LinkOutputs) {
        if self.lease.take().is_some() {
            out.tell_all(&ToWorker::StorageAway);
        }
        // What was put together for the old stream is put together again for the next.
        self.turn.clear();
        out.operations.clear();
        out.controls.clear();
        for shard in &mut self.shards {
            shard.publications.resume();
            // A delta may have been on its way: the next attach tells whether it arrived.
        }
    }

    fn take_placement(&mut self, attached: &Attached) -> Result<Arc<Placement>, Violation> {
        let found = Placement::new(&self.settings.cluster_uid, attached.shards, &attached.placement_rules)?;
        match &self.placement {
            Some(known) if known.shards() != found.shards() => Err(Violation::ShardsChanged {
                from: known.shards(),
                to: found.shards(),
            }),
            Some(known) => Ok(Arc::clone(known)),
            None => {
                let links = (0..found.shards()).map(|s| ShardLink::new(ShardId(s), self.origin));
                self.shards = links.collect();
                Ok(Arc::clone(self.placement.insert(Arc::new(found))))
            }
        }
    }

    /// Goes on with a shard; returns whether it has another leader than before.
    fn resume_shard(
        &mut self,
        found: &ShardAttachment,
        is_first: bool,
        out: &mut LinkOutputs,
    ) -> Result<bool, Violation> {
        let shard = found.shard;
        self.highest_term = self.highest_term.max(found.term);
        let is_reborn = self.is_reborn;
        let link = self.shard_mut(shard)?;
        let is_new_leader = std::mem::replace(&mut link.leader_term, found.term) != found.term;
        // A leader begins without memory of proxies. That it has taken no publication says nothing: there may have
        // been none.
        let forgotten = is_new_leader || is_reborn;
        if link.acceptance.term() == found.term {
            link.acceptance.report_again();
        } else {
            link.acceptance.start_term(found.term);
        }
        if forgotten {
            let tell = |a: Answered| out.tell(a.worker, published(&a));
            link.publications.start_over(found.publish_seq, tell);
        } else {
            link.publications.resume();
        }
        if found.interest_version != link.version() {
            link.begin_anew();
        }
        if found.overrun || is_reborn && !planted!(LossUntold) {
            let queued = if is_reborn {
                QueuedFor::Unexpired
            } else {
                QueuedFor::All
            };
            out.tell_all(&ToWorker::Overrun { shard, queued });
        }
        if is_new_leader {
            self.reads.forget_positions(shard);
        }
        if !is_first && (forgotten || self.naming.is_unproven(shard)) {
            self.naming.ask(shard, self.settings.workers);
            self.owed.hold_updates(shard, self.settings.workers);
            out.tell_all(&ToWorker::RegisterSessions { shard });
        }
        for chunk in self.reads.owed_by(shard) {
            self.ask_for_chunk(chunk);
        }
        Ok(is_new_leader && !is_first)
    }
}
