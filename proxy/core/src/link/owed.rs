//! Requests about sessions that outlive their connection, until storage has answered them.
//!
//! What is unanswered when a stream breaks is sent again in the order in which it was asked; storage knows what it has
//! done. An answer that comes twice is passed over. Bounded by the workers: one update for each session, a release for
//! each packet id, a bounded number of reads.

use std::collections::{BTreeMap, BTreeSet};

use freshet_storage_contract::{Operation, RequestId, ShardId};

use super::taking::{Taking, forget_in};
use crate::exchange::{WorkerId, worker_of};

/// What storage owes.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Request ids of one worker ascend.
    operations: BTreeMap<RequestId, (ShardId, Operation)>,
    /// Releases that go to several shards, by the link's own requests.
    parts: BTreeMap<RequestId, RequestId>,
    releases: BTreeMap<RequestId, Parts>,
    /// Workers whose sessions of a shard storage is about to be told of: their updates wait for that.
    unnamed: BTreeSet<(WorkerId, ShardId)>,
    /// Messages of groups that these operations are to take.
    taking: Taking,
}

#[derive(Debug, Default)]
struct Parts {
    left: usize,
    found: bool,
}

impl Owed {
    /// Takes note of a request. True: it may be sent now.
    pub(super) fn add(&mut self, request: RequestId, shard: ShardId, operation: Operation) -> bool {
        let waits = self.waits(request, shard, &operation);
        self.taking.begin(&operation);
        self.operations.insert(request, (shard, operation));
        !waits
    }

    /// A release is asked of several shards, under these names.
    pub(super) fn split(&mut self, release: RequestId, parts: &[RequestId]) {
        let left = parts.len();
        self.releases.insert(release, Parts { left, found: false });
        self.parts.extend(parts.iter().map(|part| (*part, release)));
    }

    /// Storage has answered. False: it had before, or nobody waits for it any more.
    pub(super) fn answered(&mut self, request: RequestId) -> bool {
        let answered = self.operations.remove(&request);
        if let Some((_, operation)) = &answered {
            self.taking.end(operation);
        }
        answered.is_some()
    }

    /// A shard has answered a release. Returns the worker's request, and whether any shard knew the packet id, when all
    /// have.
    pub(super) fn released(&mut self, request: RequestId, found: bool) -> Option<(RequestId, bool)> {
        if !self.answered(request) {
            return None;
        }
        let Some(release) = self.parts.remove(&request) else {
            return Some((request, found));
        };
        let parts = self.releases.get_mut(&release)?;
        parts.left = parts.left.saturating_sub(1);
        parts.found |= found;
        if parts.left > 0 {
            return None;
        }
        let found = parts.found;
        self.releases.remove(&release);
        Some((release, found))
    }

    /// Nobody waits any more.
    pub(super) fn withdraw(&mut self, request: RequestId) {
        self.answered(request);
    }

    /// Messages of groups that sessions are about to take.
    pub(super) fn taking(&mut self) -> &mut Taking {
        &mut self.taking
    }

    /// All leases have ended: what sessions have not taken yet goes to other members.
    pub(super) fn take_no_more(&mut self) {
        for (_, operation) in self.operations.values_mut() {
            self.taking.end(operation);
            forget_in(operation);
        }
    }

    /// Storage may not know the sessions of a shard: it is to be told of them before their updates.
    pub(super) fn hold_updates(&mut self, shard: ShardId, workers: u16) {
        self.unnamed
            .extend((0..workers).map(|worker| (WorkerId(worker), shard)));
    }

    /// A worker's sessions of a shard have been named; returns their updates.
    pub(super) fn named(&mut self, worker: WorkerId, shard: ShardId) -> Vec<Operation> {
        if !self.unnamed.remove(&(worker, shard)) {
            return Vec::new();
        }
        let of_worker = |(request, (at, operation)): (&RequestId, &(ShardId, Operation))| {
            let is_one = matches!(operation, Operation::UpdateSession(_)) && *at == shard;
            (is_one && worker_of(*request) == worker).then(|| operation.clone())
        };
        self.operations.iter().filter_map(of_worker).collect()
    }

    /// Whether storage has not been told yet of a worker's sessions of a shard.
    pub(super) fn is_unnamed(&self, worker: WorkerId, shard: ShardId) -> bool {
        self.unnamed.contains(&(worker, shard))
    }

    /// Everything that the new stream has to carry again, but the updates that wait.
    pub(super) fn resume(&self) -> Vec<Operation> {
        let may_go = |(request, (shard, operation)): (&RequestId, &(ShardId, Operation))| {
            (!self.waits(*request, *shard, operation)).then(|| operation.clone())
        };
        self.operations.iter().filter_map(may_go).collect()
    }

    /// Begins anew with a new stream.
    pub(super) fn forget_unnamed(&mut self) {
        self.unnamed.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    fn waits(&self, request: RequestId, shard: ShardId, operation: &Operation) -> bool {
        matches!(operation, Operation::UpdateSession(_)) && self.is_unnamed(worker_of(request), shard)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_storage_contract::{SessionEpoch, UpdateSession};

    use super::*;
    use crate::exchange::request_id;

    const SHARD: ShardId = ShardId(1);
    const WORKER: WorkerId = WorkerId(0);

    fn update(counter: u64) -> (RequestId, Operation) {
        let request = request_id(WORKER, counter);
        let update = UpdateSession {
            request: Some(request),
            client_id: Bytes::from_static(b"c"),
            epoch: SessionEpoch::default(),
            changes: Vec::new(),
        };
        (request, Operation::UpdateSession(update))
    }

    #[test]
    fn what_is_unanswered_is_sent_again_in_its_order() {
        let mut owed = Owed::default();
        let all: Vec<_> = (1..4).map(update).collect();
        for (request, operation) in all.clone() {
            assert!(owed.add(request, SHARD, operation));
        }
        assert!(owed.answered(all[0].0));
        assert!(!owed.answered(all[0].0), "an answer that comes twice");
        assert_eq!(owed.resume(), [all[1].1.clone(), all[2].1.clone()]);
    }

    #[test]
    fn an_update_waits_until_storage_knows_the_session() {
        let mut owed = Owed::default();
        let (first, operation) = update(1);
        owed.add(first, SHARD, operation.clone());
        owed.hold_updates(SHARD, 2);
        assert_eq!(owed.resume(), []);
        let (second, later) = update(2);
        assert!(!owed.add(second, SHARD, later.clone()));
        assert_eq!(owed.named(WorkerId(1), SHARD), []);
        assert_eq!(owed.named(WORKER, SHARD), [operation, later]);
        let (third, last) = update(3);
        assert!(owed.add(third, SHARD, last));
    }

    #[test]
    fn a_release_at_all_shards_is_answered_once_by_whoever_knew_it() {
        let mut owed = Owed::default();
        let (release, parts) = (request_id(WORKER, 9), [RequestId(100), RequestId(101)]);
        owed.split(release, &parts);
        for part in parts {
            owed.add(part, SHARD, update(1).1);
        }
        assert_eq!(owed.released(parts[0], true), None);
        assert_eq!(owed.released(parts[0], true), None);
        assert_eq!(owed.released(parts[1], false), Some((release, true)));
        assert_eq!(owed.len(), 0);
    }
}
