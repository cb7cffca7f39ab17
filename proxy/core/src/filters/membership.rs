//! Shared subscriptions in the table of filters: who is a member, and which of them is next.
//!
//! Rules of authorization may have changed since a member subscribed: a group whose filter is denied is closed until it
//! is allowed again.

use bytes::Bytes;
use freshet_storage_contract::{FilterId, MonotonicMs, RequestId, ShardId, SharedStrategy};

use super::{FilterKey, FilterTable, Load, Subscriber};
use crate::exchange::GroupPart;

impl FilterTable {
    /// A subscriber of a shared subscription becomes a member; `window`: what may be in flight towards it.
    pub(crate) fn join_group(&mut self, key: FilterKey, slot: u32, window: u16) {
        if let Some(group) = self.get_mut(key).and_then(|f| f.group.as_mut()) {
            group.add(slot, window);
        }
    }

    /// Whether it is a shared subscription.
    pub(crate) fn is_group(&self, key: FilterKey) -> bool {
        self.get(key).is_some_and(|f| f.group.is_some())
    }

    /// The members of a shared subscription.
    pub(crate) fn group_part(&self, key: FilterKey) -> Option<GroupPart> {
        Some(self.get(key)?.group.as_ref()?.part())
    }

    /// The whole name of a shared subscription.
    pub(crate) fn group_name(&self, filter_id: FilterId) -> Option<Bytes> {
        let filter = self.get(self.key_of(filter_id)?)?;
        Some(filter.group.as_ref()?.name.clone())
    }

    /// No member of a shared subscription has room: nothing more is to come. None: that is known.
    pub(crate) fn close_group(&mut self, filter_id: FilterId, now: MonotonicMs) -> Option<FilterKey> {
        let key = self.key_of(filter_id)?;
        let group = self.get_mut(key)?.group.as_mut()?;
        group.close(now).then_some(key)
    }

    /// A closed group gets nothing more that was given before it was closed when the request is answered. None: one is
    /// under way already, as where a shard confirms nothing for long.
    pub(crate) fn await_rest(&mut self, key: FilterKey, request: impl FnOnce() -> RequestId) -> Option<RequestId> {
        let group = self.get_mut(key)?.group.as_mut()?;
        group.await_rest(request)
    }

    /// The request is answered. True: a member has been done with a message meanwhile.
    pub(crate) fn rest_has_come(&mut self, key: FilterKey, request: RequestId) -> bool {
        let group = self.get_mut(key).and_then(|f| f.group.as_mut());
        group.is_some_and(|group| group.rest_has_come(request))
    }

    /// A member of a closed group is done with a message.
    pub(crate) fn note_done(&mut self, key: FilterKey) {
        if let Some(group) = self.get_mut(key).and_then(|f| f.group.as_mut()) {
            group.note_done();
        }
    }

    /// A shard gives a message of a shared subscription. Returns the group, and whether its part has changed by that; none:
    /// it is closed, or has gone.
    pub(crate) fn note_lease(
        &mut self,
        filter_id: FilterId,
        shard: ShardId,
        now: MonotonicMs,
    ) -> Option<(FilterKey, bool)> {
        let key = self.key_of(filter_id)?;
        let group = self.get_mut(key)?.group.as_mut()?;
        let is_resized = group.note_lease(shard, now);
        (!group.is_closed()).then_some((key, is_resized))
    }

    /// A closed group goes on if a member has room. None: it is not closed.
    pub(crate) fn reopen_group(
        &mut self,
        key: FilterKey,
        load: impl Fn(u32) -> Option<Load>,
        now: MonotonicMs,
    ) -> Option<bool> {
        let may_deliver = self.may_deliver(self.get(key)?);
        let group = self.get_mut(key)?.group.as_mut()?;
        group.is_closed().then(|| may_deliver && group.reopen(load, now))
    }

    /// The member of a shared subscription that gets the next message; none: no member has room, or may have it.
    pub(crate) fn choose_member(
        &mut self,
        filter_id: FilterId,
        strategy: SharedStrategy,
        load: impl Fn(u32) -> Option<Load>,
    ) -> Option<Subscriber> {
        let key = self.key_of(filter_id)?;
        if !self.may_deliver(self.get(key)?) {
            return None;
        }
        let filter = self.get_mut(key)?;
        let slot = filter.group.as_mut()?.choose(strategy, load)?;
        filter.subscribers.get(slot).copied()
    }
}
