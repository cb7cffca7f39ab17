//! The topic filters of one worker and who has subscribed to each.
//!
//! Called by the worker for subscriptions and for each delivery, which names filters by the id that the link gave
//! them. Matching is storage's: nothing here looks at a topic. A filter lives while it has a subscriber or while the
//! link owes its name. Leaves out the session's own list of filters.

mod group;
mod membership;
mod permission;
mod subscribers;

use bytes::Bytes;
use foldhash::fast::FixedState;
use freshet_mqtt::{QoS, TopicFilter, topic_matches};
use freshet_storage_contract::{FilterId, FilterShards, ShardId, ShardSet};
use hashbrown::HashMap;

use self::group::Group;
pub(crate) use self::group::Load;
use self::permission::{Permission, Rules};
use self::subscribers::Subscribers;
use crate::id_index::IdIndex;
use crate::name_table::{NameTable, Named};

/// Place of a filter in the table, until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FilterKey(u32);

/// One client's subscription to one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    /// Slot of the connection.
    pub(crate) slot: u32,
    /// Subscription Identifier; 0: none.
    pub(crate) identifier: u32,
    /// Maximum QoS.
    pub(crate) qos: QoS,
    /// Leave out the client's own messages.
    pub(crate) no_local: bool,
    /// Keep RETAIN of what is forwarded.
    pub(crate) retain_as_published: bool,
    /// Some shards have not confirmed yet: see [`Joining`].
    joining: bool,
}

impl Subscriber {
    /// A subscriber that no shard has confirmed.
    pub(crate) fn new(slot: u32, identifier: u32, qos: QoS, no_local: bool, retain_as_published: bool) -> Self {
        Self {
            slot,
            identifier,
            qos,
            no_local,
            retain_as_published,
            joining: true,
        }
    }

    /// Whether both ask for the same.
    pub(crate) fn has_options_of(&self, other: &Self) -> bool {
        let options = |s: &Self| (s.identifier, s.qos, s.no_local, s.retain_as_published);
        options(self) == options(other)
    }
}

/// Where new subscribers have their place in the stream of deliveries already, by slot.
type Joining = HashMap<u32, ShardSet, FixedState>;

#[derive(Debug)]
struct Filter {
    topic_filter: Box<[u8]>,
    /// How the link calls it, and where it lives; none: the link has not answered yet.
    named: Option<(FilterId, FilterShards)>,
    /// Requests that the link has not answered with the filter's name.
    unnamed: u32,
    subscribers: Subscribers,
    permission: Permission,
    /// Boxed: there for milliseconds of a subscription's life.
    joining: Option<Box<Joining>>,
    /// There when it is a shared subscription.
    group: Option<Box<Group>>,
}

/// What became of a filter when a subscriber left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Released {
    /// The link is to be told nothing: others have it, or its name is owed, or it was never asked for.
    Kept,
    /// Nobody has it: the link is to be told.
    Gone(FilterId),
}

/// The filters of a worker.
pub(crate) struct FilterTable {
    filters: NameTable<Filter>,
    by_id: IdIndex,
    rules: Rules,
}

impl FilterTable {
    /// An empty table. Clients choose topic filters, so that hashes are keyed.
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self {
            filters: NameTable::new(keys),
            by_id: IdIndex::default(),
            rules: Rules::default(),
        }
    }

    /// How many filters there are.
    pub(crate) fn len(&self) -> usize {
        self.filters.len()
    }

    /// The filter of this name.
    pub(crate) fn find(&self, topic_filter: &[u8]) -> Option<FilterKey> {
        self.filters.find(topic_filter).map(FilterKey)
    }

    /// The filter of this name, which will be asked of the link once more: [`Self::named`] is to follow.
    pub(crate) fn want(&mut self, topic_filter: &[u8]) -> FilterKey {
        let key = self.find(topic_filter).unwrap_or_else(|| self.insert(topic_filter));
        if let Some(filter) = self.get_mut(key) {
            filter.unnamed += 1;
        }
        key
    }

    fn insert(&mut self, topic_filter: &[u8]) -> FilterKey {
        let is_shared = str::from_utf8(topic_filter)
            .ok()
            .and_then(|filter| TopicFilter::parse(filter).ok())
            .is_some_and(|filter| filter.shared().is_some());
        let filter = Filter {
            group: is_shared.then(|| {
                let [.., high, low] = self.filters.hash(topic_filter).to_be_bytes();
                let first = u16::from_be_bytes([high, low]);
                Box::new(Group::new(Bytes::copy_from_slice(topic_filter), first))
            }),
            topic_filter: topic_filter.into(),
            named: None,
            unnamed: 0,
            subscribers: Subscribers::None,
            permission: Permission::default(),
            joining: None,
        };
        FilterKey(self.filters.insert(filter))
    }

    /// The link has answered a request for the filter.
    pub(crate) fn named(&mut self, key: FilterKey, filter_id: FilterId, shards: FilterShards) -> Released {
        if let Some(filter) = self.get_mut(key) {
            filter.unnamed = filter.unnamed.saturating_sub(1);
            let old = filter.named.replace((filter_id, shards)).map(|(old, _)| old);
            if old != Some(filter_id) {
                if let Some(old) = old {
                    self.by_id.remove(old, key.0);
                }
                self.by_id.insert(filter_id, key.0, id_at(&self.filters));
            }
        }
        self.release(key)
    }

    /// What [`Self::want`] announced is not asked of the link after all.
    pub(crate) fn do_not_want(&mut self, key: FilterKey) -> Released {
        if let Some(filter) = self.get_mut(key) {
            filter.unnamed = filter.unnamed.saturating_sub(1);
        }
        self.release(key)
    }

    /// Adds a subscriber, or replaces the options of the one there is. Returns whether it is new.
    pub(crate) fn subscribe(&mut self, key: FilterKey, subscriber: Subscriber) -> bool {
        let Some(filter) = self.get_mut(key) else { return false };
        match filter.subscribers.get_mut(subscriber.slot) {
            Some(there) => {
                *there = Subscriber {
                    joining: there.joining,
                    ..subscriber
                };
                false
            }
            None => {
                filter.subscribers.insert(subscriber);
                let joining = filter.joining.get_or_insert_default();
                joining.insert(subscriber.slot, ShardSet::default());
                true
            }
        }
    }

    /// The shard's deliveries belong to the subscriber from here on.
    pub(crate) fn joined(&mut self, key: FilterKey, slot: u32, shard: ShardId) {
        let joining = self.get_mut(key).and_then(|f| f.joining.as_mut());
        if let Some(shards) = joining.and_then(|all| all.get_mut(&slot)) {
            shards.insert(shard);
        }
    }

    /// Every shard of the filter has confirmed the subscriber.
    pub(crate) fn joined_everywhere(&mut self, key: FilterKey, slot: u32) {
        let Some(filter) = self.get_mut(key) else { return };
        if let Some(subscriber) = filter.subscribers.get_mut(slot) {
            subscriber.joining = false;
        }
        filter.forget_joining(slot);
    }

    /// Removes a subscriber. None: it was not there.
    pub(crate) fn unsubscribe(&mut self, key: FilterKey, slot: u32) -> Option<Released> {
        let filter = self.get_mut(key)?;
        filter.subscribers.remove(slot)?;
        filter.forget_joining(slot);
        if let Some(group) = &mut filter.group {
            group.remove(slot);
        }
        Some(self.release(key))
    }

    /// The subscription of a connection.
    pub(crate) fn subscriber(&self, key: FilterKey, slot: u32) -> Option<&Subscriber> {
        self.get(key)?.subscribers.get(slot)
    }

    /// Calls `take` for each subscriber that deliveries of `shard` belong to. False: the rules keep the message from them.
    pub(crate) fn for_each_of(&self, filter_id: FilterId, shard: ShardId, mut take: impl FnMut(&Subscriber)) -> bool {
        let Some(filter) = self.key_of(filter_id).and_then(|key| self.get(key)) else {
            return true;
        };
        if !self.may_deliver(filter) {
            return false;
        }
        filter.subscribers.for_each(|subscriber| {
            if !subscriber.joining || filter.has_joined(subscriber.slot, shard) {
                take(subscriber);
            }
        });
        true
    }

    /// Calls `take` for each subscription that concerns `shard`, shared ones apart: what is lost of them goes to
    /// another member.
    pub(crate) fn for_each_at(&self, shard: ShardId, mut take: impl FnMut(&Subscriber)) {
        let at_shard = |f: &&Filter| match f.named {
            Some((_, FilterShards::One(one))) => one == shard,
            Some((_, FilterShards::All)) => true,
            None => false,
        };
        for filter in self.filters.values().filter(at_shard).filter(|f| f.group.is_none()) {
            filter.subscribers.for_each(&mut take);
        }
    }

    /// The subscription of a connection to the filter of this name.
    pub(crate) fn subscriber_of(&self, filter_id: FilterId, slot: u32) -> Option<&Subscriber> {
        self.subscriber(self.key_of(filter_id)?, slot)
    }

    /// The name that the link gave the filter.
    pub(crate) fn filter_id(&self, key: FilterKey) -> Option<FilterId> {
        Some(self.get(key)?.named?.0)
    }

    /// Whether the filter matches.
    pub(crate) fn matches(&self, key: FilterKey, topic_name: &str) -> bool {
        let topic_filter = self.get(key).and_then(|f| str::from_utf8(&f.topic_filter).ok());
        topic_filter.is_some_and(|topic_filter| !self.is_group(key) && topic_matches(topic_filter, topic_name))
    }

    /// The topic filter.
    pub(crate) fn topic_filter(&self, key: FilterKey) -> Bytes {
        self.get(key)
            .map_or_else(Bytes::new, |f| Bytes::copy_from_slice(&f.topic_filter))
    }

    /// Removes the filter if nobody needs it.
    fn release(&mut self, key: FilterKey) -> Released {
        let Some(filter) = self.get(key) else {
            return Released::Kept;
        };
        if filter.unnamed > 0 || !filter.subscribers.is_empty() {
            return Released::Kept;
        }
        let filter_id = filter.named.map(|(filter_id, _)| filter_id);
        if let Some(filter_id) = filter_id {
            self.by_id.remove(filter_id, key.0);
        }
        self.filters.remove(key.0);
        // Without a name the link does not have it.
        filter_id.map_or(Released::Kept, Released::Gone)
    }

    fn key_of(&self, filter_id: FilterId) -> Option<FilterKey> {
        self.by_id.get(filter_id, id_at(&self.filters)).map(FilterKey)
    }

    fn get(&self, key: FilterKey) -> Option<&Filter> {
        self.filters.get(key.0)
    }

    fn get_mut(&mut self, key: FilterKey) -> Option<&mut Filter> {
        self.filters.get_mut(key.0)
    }
}

fn id_at(filters: &NameTable<Filter>) -> impl Fn(u32) -> Option<FilterId> {
    |at| filters.get(at)?.named.map(|(filter_id, _)| filter_id)
}

impl Filter {
    fn has_joined(&self, slot: u32, shard: ShardId) -> bool {
        let shards = self.joining.as_ref().and_then(|all| all.get(&slot));
        shards.is_some_and(|shards| shards.contains(shard))
    }

    fn forget_joining(&mut self, slot: u32) {
        if let Some(joining) = &mut self.joining {
            joining.remove(&slot);
            if joining.is_empty() {
                self.joining = None;
            }
        }
    }
}

impl Named for Filter {
    fn name(&self) -> &[u8] {
        &self.topic_filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);
    const ID: FilterId = FilterId(7);

    fn subscriber(slot: u32) -> Subscriber {
        Subscriber::new(slot, 0, QoS::AtLeastOnce, false, false)
    }

    fn receivers(table: &FilterTable, shard: ShardId) -> Vec<u32> {
        let mut slots = Vec::new();
        table.for_each_of(ID, shard, |s| slots.push(s.slot));
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_subscriber_gets_what_comes_after_its_join_at_that_shard() {
        let mut table = FilterTable::new((1, 2));
        let key = table.want(b"a/#");
        table.subscribe(key, subscriber(3));
        table.named(key, ID, FilterShards::All);
        assert_eq!(receivers(&table, SHARD), []);
        table.joined(key, 3, SHARD);
        assert_eq!(receivers(&table, SHARD), [3]);
        assert_eq!(receivers(&table, ShardId(2)), []);
        table.joined_everywhere(key, 3);
        assert_eq!(receivers(&table, ShardId(2)), [3]);
    }

    #[test]
    fn a_second_subscription_replaces_options_and_keeps_its_place() {
        let mut table = FilterTable::new((1, 2));
        let key = table.want(b"a");
        assert!(table.subscribe(key, subscriber(3)));
        table.named(key, ID, FilterShards::One(SHARD));
        table.joined_everywhere(key, 3);
        assert!(!table.subscribe(
            key,
            Subscriber {
                identifier: 9,
                ..subscriber(3)
            }
        ));
        assert_eq!(receivers(&table, SHARD), [3]);
        assert_eq!(table.subscriber(key, 3).map(|s| s.identifier), Some(9));
    }

    #[test]
    fn the_last_subscriber_takes_the_filter_along_unless_its_name_is_owed() {
        let mut table = FilterTable::new((1, 2));
        let key = table.want(b"a");
        table.subscribe(key, subscriber(3));
        assert_eq!(
            table.unsubscribe(key, 3),
            Some(Released::Kept),
            "the link has not named it yet"
        );
        assert_eq!(table.named(key, ID, FilterShards::One(SHARD)), Released::Gone(ID));
        assert_eq!((table.len(), table.find(b"a")), (0, None));

        let key = table.want(b"a");
        table.named(key, ID, FilterShards::One(SHARD));
        assert_eq!(table.find(b"a"), None, "nobody had subscribed");
    }
}
