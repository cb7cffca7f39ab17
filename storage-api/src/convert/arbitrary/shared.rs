//! Any value of the contract about shared subscriptions, for property tests.

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, Delivery, FilterId, InterestChange, Lease, Operation, SettleShared, Settlement, SharedGroup, SharedMessage,
    SharedStrategy,
};
use proptest::{collection::vec, option, prelude::*};

use super::sessions::{position, request};
use super::{message, shard, topic_filter};

fn share_name() -> impl Strategy<Value = Bytes> {
    "[^/+#\\x00]{1,12}".prop_map(Bytes::from)
}

pub(super) fn group_name() -> impl Strategy<Value = Bytes> {
    (share_name(), topic_filter())
        .prop_map(|(name, filter)| Bytes::from([b"$share/", &name[..], b"/", &filter[..]].concat()))
}

fn lease() -> impl Strategy<Value = Lease> {
    (position(), 1_u64..).prop_map(|(position, number)| Lease { position, number })
}

pub(super) fn interest_change() -> impl Strategy<Value = InterestChange> {
    let strategy = prop_oneof![Just(SharedStrategy::RoundRobin), Just(SharedStrategy::LeastInflight)];
    (
        any::<u32>(),
        share_name(),
        topic_filter(),
        strategy,
        1_u32..,
        any::<u32>(),
    )
        .prop_map(|(id, share_name, topic_filter, strategy, members, window)| {
            InterestChange::SetGroup(SharedGroup {
                filter_id: FilterId(id),
                share_name,
                topic_filter,
                strategy,
                members,
                window,
            })
        })
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let settlement = prop_oneof![Just(Settlement::Done), Just(Settlement::Returned)];
    (request(), shard(), any::<u32>(), vec((lease(), settlement), 0..5)).prop_map(|(request, shard, id, settled)| {
        Operation::SettleShared(SettleShared {
            request,
            shard,
            filter_id: FilterId(id),
            settled,
        })
    })
}

pub(super) fn answer() -> impl Strategy<Value = Answer> {
    request().prop_map(|request| Answer::SharedSettled { request })
}

pub(super) fn delivery() -> impl Strategy<Value = Delivery> {
    (any::<u32>(), message(), option::of(lease())).prop_map(|(id, message, lease)| {
        Delivery::Shared(SharedMessage {
            filter_id: FilterId(id),
            message: message.into(),
            lease,
        })
    })
}
