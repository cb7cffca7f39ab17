//! What a proxy has with one shard: the version of its interest, the subscribers that wait to join, its publications,
//! and the deliveries it has taken.

use std::collections::VecDeque;

use freshet_storage_contract::{
    IncarnationId, InterestChange, InterestDelta, InterestVersion, RequestId, ShardId, SharedStrategy, Term,
};

use super::acceptance::Acceptance;
use super::filters::Filters;
use super::publications::Publications;
use crate::lists::keep_little;

/// Bytes of changes in one delta, each charged with [`CHANGE_OVERHEAD_BYTES`] beside its filter: far below the largest
/// operation that a stream takes. A proxy with very many filters tells them in several deltas.
const DELTA_BYTES: usize = 512 << 10;
/// What a change costs beside its filter.
const CHANGE_OVERHEAD_BYTES: usize = 64;
/// Stands for the version of the delta that will carry the last of the unsent changes.
const UNSENT: InterestVersion = InterestVersion(u64::MAX);

/// Changes that there is room for when all have been told: a rush of subscribers is not remembered.
const KEPT_CHANGES: usize = 1_024;

/// State of the link towards one shard.
#[derive(Debug)]
pub(super) struct ShardLink {
    pub(super) shard: ShardId,
    /// Term of the leader at the last attach; 0 before the first. Outlives incarnations.
    pub(super) leader_term: Term,
    pub(super) publications: Publications,
    pub(super) acceptance: Acceptance,
    /// Changes that no delta has carried yet.
    changes: VecDeque<InterestChange>,
    /// The next delta names everything, whatever `changes` holds.
    complete: bool,
    /// A subscriber joins at a marker, whether there are changes or not.
    wants_marker: bool,
    /// Version of the last delta that was sent.
    version: InterestVersion,
    confirmed: InterestVersion,
    /// Subscribers that join when a version is confirmed, in order of versions.
    joins: Vec<(InterestVersion, RequestId)>,
}

impl ShardLink {
    /// `origin`: the first incarnation of the process.
    pub(super) fn new(shard: ShardId, origin: IncarnationId) -> Self {
        Self {
            shard,
            leader_term: Term(0),
            publications: Publications::new(shard, origin),
            acceptance: Acceptance::default(),
            changes: VecDeque::new(),
            complete: false,
            wants_marker: false,
            version: InterestVersion(0),
            confirmed: InterestVersion(0),
            joins: Vec::new(),
        }
    }

    pub(super) fn change(&mut self, change: InterestChange) {
        self.changes.push_back(change);
    }

    /// The next delta starts from nothing: storage does not know what it was told, or not for sure.
    pub(super) fn begin_anew(&mut self) {
        self.complete = true;
    }

    pub(super) fn version(&self) -> InterestVersion {
        self.version
    }

    /// Whether there is a delta to send. Asked for every shard in every turn.
    #[inline]
    pub(super) fn has_delta(&self) -> bool {
        self.complete || self.wants_marker || !self.changes.is_empty()
    }

    /// The next delta to send before anything else of this turn; none: all changes have been told.
    pub(super) fn next_delta(&mut self, filters: &Filters, strategy: SharedStrategy) -> Option<InterestDelta> {
        if !self.has_delta() {
            return None;
        }
        let complete = std::mem::take(&mut self.complete);
        if complete {
            self.changes = filters.of_shard(self.shard, strategy).collect();
        }
        let mut bytes = 0;
        let fitting = self.changes.iter().take_while(|change| {
            bytes += charged_bytes(change);
            bytes <= DELTA_BYTES
        });
        // One that is too large by itself is for the stream to refuse.
        let count = fitting.count().max(1).min(self.changes.len());
        let changes = self.changes.drain(..count).collect();
        self.version.0 += 1;
        if self.changes.is_empty() {
            self.changes.shrink_to(KEPT_CHANGES);
            self.wants_marker = false;
            for (wanted, _) in self.joins.iter_mut().rev().take_while(|(wanted, _)| *wanted == UNSENT) {
                *wanted = self.version;
            }
        }
        Some(InterestDelta {
            shard: self.shard,
            version: self.version,
            complete,
            changes,
        })
    }

    /// A subscriber joins once everything that is wanted now is confirmed. True: it is already.
    pub(super) fn join(&mut self, request: RequestId) -> bool {
        let unsent = self.complete || !self.changes.is_empty();
        let wanted = if unsent { UNSENT } else { self.version };
        if wanted <= self.confirmed {
            return true;
        }
        self.joins.push((wanted, request));
        false
    }

    /// A subscriber joins behind everything that is on its way now.
    pub(super) fn join_behind_marker(&mut self, request: RequestId) {
        self.wants_marker = true;
        self.joins.push((UNSENT, request));
    }

    /// The subscriber has gone.
    pub(super) fn withdraw(&mut self, request: RequestId) {
        self.joins.retain(|(_, waiting)| *waiting != request);
    }

    /// The shard has confirmed a version; returns who joins, in the order of asking.
    pub(super) fn confirm(&mut self, version: InterestVersion) -> Vec<RequestId> {
        self.confirmed = self.confirmed.max(version);
        let ready = self.joins.iter().take_while(|(wanted, _)| *wanted <= version).count();
        let joined = self.joins.drain(..ready).map(|(_, request)| request).collect();
        keep_little(&mut self.joins);
        joined
    }
}

fn charged_bytes(change: &InterestChange) -> usize {
    CHANGE_OVERHEAD_BYTES
        + match change {
            InterestChange::Add { topic_filter, .. } => topic_filter.len(),
            InterestChange::SetGroup(group) => group.share_name.len() + group.topic_filter.len(),
            InterestChange::Remove { .. } => 0,
        }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_storage_contract::FilterId;

    use super::*;

    const STRATEGY: SharedStrategy = SharedStrategy::RoundRobin;

    fn add(id: u32) -> InterestChange {
        InterestChange::Add {
            filter_id: FilterId(id),
            topic_filter: Bytes::from_static(b"a"),
        }
    }

    #[test]
    fn a_subscriber_joins_when_its_interest_is_confirmed() {
        let mut shard = ShardLink::new(ShardId(0), IncarnationId(7));
        shard.change(add(1));
        assert!(!shard.join(RequestId(1)));
        let delta = shard.next_delta(&Filters::new((1, 2)), STRATEGY).unwrap();
        assert_eq!((delta.version, delta.complete), (InterestVersion(1), false));
        assert_eq!(shard.confirm(InterestVersion(1)), [RequestId(1)]);
        assert!(shard.join(RequestId(2)), "nothing is pending");
    }

    #[test]
    fn one_that_comes_back_joins_at_a_marker_of_its_own() {
        let mut shard = ShardLink::new(ShardId(0), IncarnationId(7));
        shard.join_behind_marker(RequestId(1));
        let delta = shard.next_delta(&Filters::new((1, 2)), STRATEGY).unwrap();
        assert_eq!((delta.version, delta.changes.len()), (InterestVersion(1), 0));
        assert_eq!(shard.next_delta(&Filters::new((1, 2)), STRATEGY), None);
        assert_eq!(shard.confirm(InterestVersion(1)), [RequestId(1)]);
        shard.change(add(1));
        shard.join_behind_marker(RequestId(2));
        let delta = shard.next_delta(&Filters::new((1, 2)), STRATEGY).unwrap();
        assert_eq!((delta.version, delta.changes.len()), (InterestVersion(2), 1));
        assert_eq!(shard.confirm(InterestVersion(2)), [RequestId(2)]);
    }

    #[test]
    fn one_that_came_later_waits_for_the_later_version() {
        let mut shard = ShardLink::new(ShardId(0), IncarnationId(7));
        shard.change(add(1));
        shard.join(RequestId(1));
        shard.next_delta(&Filters::new((1, 2)), STRATEGY);
        shard.change(add(2));
        shard.join(RequestId(2));
        shard.next_delta(&Filters::new((1, 2)), STRATEGY);
        assert_eq!(shard.confirm(InterestVersion(1)), [RequestId(1)]);
        assert_eq!(shard.confirm(InterestVersion(2)), [RequestId(2)]);
    }

    #[test]
    fn a_complete_delta_stands_for_all_changes_before_it() {
        let mut shard = ShardLink::new(ShardId(0), IncarnationId(7));
        shard.change(add(1));
        shard.join(RequestId(1));
        shard.begin_anew();
        let delta = shard.next_delta(&Filters::new((1, 2)), STRATEGY).unwrap();
        assert!(delta.complete);
        assert_eq!(shard.confirm(delta.version), [RequestId(1)]);
        assert_eq!(shard.next_delta(&Filters::new((1, 2)), STRATEGY), None);
    }

    #[test]
    fn very_many_changes_go_in_several_deltas_and_a_subscriber_waits_for_the_last() {
        let mut shard = ShardLink::new(ShardId(0), IncarnationId(7));
        let mut filters = Filters::new((1, 2));
        for id in 0..20_000 {
            filters.add(crate::exchange::WorkerId(0), &Bytes::from(format!("a/{id}")), |_| {
                freshet_storage_contract::FilterShards::All
            });
        }
        shard.begin_anew();
        shard.join(RequestId(1));
        let deltas: Vec<_> = std::iter::from_fn(|| shard.next_delta(&filters, STRATEGY)).collect();
        assert!(deltas.len() > 1);
        assert_eq!(deltas.iter().map(|d| d.changes.len()).sum::<usize>(), 20_000);
        for (index, delta) in deltas.iter().enumerate() {
            assert_eq!((delta.version.0, delta.complete), (index as u64 + 1, index == 0));
            assert!(delta.changes.iter().map(charged_bytes).sum::<usize>() <= DELTA_BYTES);
        }
        let (last, before) = deltas.split_last().unwrap();
        for delta in before {
            assert!(shard.confirm(delta.version).is_empty());
        }
        assert_eq!(shard.confirm(last.version), [RequestId(1)]);
    }

    #[test]
    fn a_subscriber_that_has_gone_does_not_join() {
        let mut shard = ShardLink::new(ShardId(0), IncarnationId(7));
        shard.change(add(1));
        shard.join(RequestId(1));
        shard.withdraw(RequestId(1));
        shard.next_delta(&Filters::new((1, 2)), STRATEGY);
        assert!(shard.confirm(InterestVersion(1)).is_empty());
    }
}
