//! The proxy's filters: the name of each, and which workers have it.
//!
//! The proxy's interest is the union over its workers: a filter is added to storage with its first worker and removed
//! with its last. Names are never used again within an incarnation, so a delivery that was on its way while a filter
//! went and came back cannot reach the wrong subscribers.

use bytes::Bytes;
use freshet_storage_contract::{FilterId, FilterShards, InterestChange, ShardId, SharedStrategy};

use super::groups::Group;
use super::workers::WorkerSet;
use crate::exchange::{GroupPart, WorkerId};
use crate::id_index::IdIndex;
use crate::name_table::{NameTable, Named};

/// All filters of a proxy.
#[derive(Debug)]
pub(super) struct Filters {
    by_topic_filter: NameTable<Filter>,
    by_id: IdIndex,
    last_id: u32,
}

#[derive(Debug)]
struct Filter {
    topic_filter: Box<[u8]>,
    id: FilterId,
    shards: FilterShards,
    workers: WorkerSet,
    /// There when it is a shared subscription.
    group: Option<Box<Group>>,
}

/// What [`Filters::add`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) filter_id: FilterId,
    pub(super) shards: FilterShards,
    /// The proxy did not have it: storage is to be told.
    pub(super) is_new: bool,
}

impl Filters {
    /// None yet; `keys`: of hashes, which clients must not guess.
    pub(super) fn new(keys: (u64, u64)) -> Self {
        Self {
            by_topic_filter: NameTable::new(keys),
            by_id: IdIndex::default(),
            last_id: 0,
        }
    }

    /// `worker` wants `topic_filter`. None when all names of the incarnation are used up.
    pub(super) fn add(
        &mut self,
        worker: WorkerId,
        topic_filter: &[u8],
        shards_of: impl FnOnce(&[u8]) -> FilterShards,
    ) -> Option<Added> {
        if let Some(known) = self.find_mut(topic_filter) {
            known.workers.insert(worker);
            return Some(Added {
                filter_id: known.id,
                shards: known.shards,
                is_new: false,
            });
        }
        self.last_id = self.last_id.checked_add(1)?;
        let filter_id = FilterId(self.last_id);
        let group = Group::parse(topic_filter);
        let shards = shards_of(group.as_ref().map_or(topic_filter, Group::topic_filter));
        let mut workers = WorkerSet::default();
        workers.insert(worker);
        let at = self.by_topic_filter.insert(Filter {
            topic_filter: topic_filter.into(),
            id: filter_id,
            shards,
            workers,
            group: group.map(Box::new),
        });
        self.by_id.insert(filter_id, at, id_at(&self.by_topic_filter));
        Some(Added {
            filter_id,
            shards,
            is_new: true,
        })
    }

    /// `worker` no longer wants it. Returns the filter's shards, and what they are to be told. `is_held`: whether the
    /// group of this name stays without members, until [`Self::let_go`].
    pub(super) fn remove(
        &mut self,
        worker: WorkerId,
        filter_id: FilterId,
        strategy: SharedStrategy,
        is_held: impl Fn(&[u8]) -> bool,
    ) -> Option<(FilterShards, InterestChange)> {
        let filter = self.get_mut(filter_id)?;
        filter.workers.remove(worker);
        if !filter.workers.is_empty() || is_held(&filter.topic_filter) {
            let group = filter.group.as_mut()?;
            group.resize(worker, GroupPart::default());
            return Some((filter.shards, group.change(filter_id, strategy)));
        }
        self.forget(filter_id)
    }

    /// A group need not stay any longer if it has no members. Returns its shards, and what they are to be told.
    pub(super) fn let_go(&mut self, topic_filter: &[u8]) -> Option<(FilterShards, InterestChange)> {
        let filter = self.find_mut(topic_filter)?;
        let (filter_id, has_members) = (filter.id, !filter.workers.is_empty());
        if has_members { None } else { self.forget(filter_id) }
    }

    fn forget(&mut self, filter_id: FilterId) -> Option<(FilterShards, InterestChange)> {
        let at = self.find(filter_id)?;
        self.by_id.remove(filter_id, at);
        let gone = self.by_topic_filter.remove(at)?;
        Some((gone.shards, InterestChange::Remove { filter_id }))
    }

    /// `worker` has other members of a shared subscription. Returns its shards, and what they are to be told.
    pub(super) fn resize(
        &mut self,
        worker: WorkerId,
        topic_filter: &[u8],
        part: GroupPart,
        strategy: SharedStrategy,
    ) -> Option<(FilterShards, InterestChange)> {
        let filter = self.find_mut(topic_filter)?;
        let group = filter.group.as_mut()?;
        group.resize(worker, part);
        Some((filter.shards, group.change(filter.id, strategy)))
    }

    /// The worker that gets the next message of a shared subscription.
    pub(super) fn next_worker(&mut self, filter_id: FilterId) -> Option<WorkerId> {
        self.get_mut(filter_id)?.group.as_mut()?.next_worker()
    }

    /// Workers that have any of `filter_ids`.
    pub(super) fn workers_of(&self, filter_ids: &[FilterId]) -> WorkerSet {
        filter_ids
            .iter()
            .filter_map(|id| self.get(*id))
            .fold(WorkerSet::default(), |all, filter| all.union(filter.workers))
    }

    /// Whether `worker` has the filter.
    pub(super) fn has(&self, worker: WorkerId, filter_id: FilterId) -> bool {
        self.get(filter_id).is_some_and(|f| f.workers.contains(worker))
    }

    /// All that `shard` is to be told, for a complete delta.
    pub(super) fn of_shard(&self, shard: ShardId, strategy: SharedStrategy) -> impl Iterator<Item = InterestChange> {
        self.by_topic_filter
            .values()
            .filter(move |f| f.shards == FilterShards::All || f.shards == FilterShards::One(shard))
            .map(move |filter| match &filter.group {
                Some(group) => group.change(filter.id, strategy),
                None => InterestChange::Add {
                    filter_id: filter.id,
                    topic_filter: Bytes::copy_from_slice(&filter.topic_filter),
                },
            })
    }

    /// Shared subscriptions that `shard` is to be told again.
    pub(super) fn groups_of_shard(
        &self,
        shard: ShardId,
        strategy: SharedStrategy,
    ) -> impl Iterator<Item = InterestChange> {
        let all = self.of_shard(shard, strategy);
        all.filter(|change| matches!(change, InterestChange::SetGroup(_)))
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Filters that are registered at every shard.
    pub(super) fn at_all_shards(&self) -> usize {
        let all = self.by_topic_filter.values();
        all.filter(|f| f.shards == FilterShards::All).count()
    }

    fn find(&self, filter_id: FilterId) -> Option<u32> {
        self.by_id.get(filter_id, id_at(&self.by_topic_filter))
    }

    fn get(&self, filter_id: FilterId) -> Option<&Filter> {
        self.by_topic_filter.get(self.find(filter_id)?)
    }

    fn get_mut(&mut self, filter_id: FilterId) -> Option<&mut Filter> {
        self.by_topic_filter.get_mut(self.find(filter_id)?)
    }

    fn find_mut(&mut self, topic_filter: &[u8]) -> Option<&mut Filter> {
        self.by_topic_filter.get_mut(self.by_topic_filter.find(topic_filter)?)
    }
}

fn id_at(filters: &NameTable<Filter>) -> impl Fn(u32) -> Option<FilterId> {
    |at| filters.get(at).map(|filter| filter.id)
}

impl Named for Filter {
    fn name(&self) -> &[u8] {
        &self.topic_filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRATEGY: SharedStrategy = SharedStrategy::RoundRobin;
    const ONE: FilterShards = FilterShards::One(ShardId(1));

    #[test]
    fn a_filter_is_new_with_its_first_worker_and_gone_with_its_last() {
        let mut filters = Filters::new((1, 2));
        let name = Bytes::from_static(b"a/b");
        let first = filters.add(WorkerId(0), &name, |_| ONE).unwrap();
        assert!(first.is_new);
        let second = filters.add(WorkerId(1), &name, |_| ONE).unwrap();
        assert_eq!(second, Added { is_new: false, ..first });
        assert_eq!(filters.remove(WorkerId(0), first.filter_id, STRATEGY, |_| false), None);
        let filter_id = first.filter_id;
        let gone = Some((ONE, InterestChange::Remove { filter_id }));
        assert_eq!(filters.remove(WorkerId(1), filter_id, STRATEGY, |_| false), gone);
        let third = filters.add(WorkerId(0), &name, |_| ONE).unwrap();
        assert_ne!(third.filter_id, first.filter_id, "names are never used again");
    }

    #[test]
    fn a_complete_delta_names_what_concerns_the_shard() {
        let mut filters = Filters::new((1, 2));
        filters.add(WorkerId(0), &Bytes::from_static(b"a"), |_| ONE);
        filters.add(WorkerId(0), &Bytes::from_static(b"#"), |_| FilterShards::All);
        assert_eq!(filters.of_shard(ShardId(1), STRATEGY).count(), 2);
        assert_eq!(filters.of_shard(ShardId(2), STRATEGY).count(), 1);
    }
}
