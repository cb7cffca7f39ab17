//! Durable filters that shards were asked for, until each has said where the subscription begins.
//!
//! The subscriber joins there and not at the marker of the live interest, which the shard has seen before: what is
//! delivered to it from then on is queued for it as well.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{EnsureDurable, Operation, RequestId, ShardId};

/// Requests for durable filters by the link's own names.
#[derive(Debug, Default)]
pub(super) struct Ensures {
    open: BTreeMap<RequestId, Ensure>,
}

/// One subscription at one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ensure {
    pub(super) subscription: RequestId,
    pub(super) shard: ShardId,
    pub(super) session_shard: ShardId,
    pub(super) topic_filter: Bytes,
    /// Retained messages are to be read from where the subscription begins.
    pub(super) retained: bool,
}

impl Ensures {
    /// Asks under the name `request`.
    pub(super) fn begin(&mut self, request: RequestId, ensure: Ensure) -> Operation {
        let operation = operation(request, &ensure);
        self.open.insert(request, ensure);
        operation
    }

    /// A shard has answered. None: it had before, or the subscriber has gone.
    pub(super) fn answered(&mut self, request: RequestId) -> Option<Ensure> {
        self.open.remove(&request)
    }

    /// The subscriber has gone.
    pub(super) fn withdraw(&mut self, subscription: RequestId) {
        self.open.retain(|_, ensure| ensure.subscription != subscription);
    }

    /// Everything that the new stream has to carry again.
    pub(super) fn resume(&self) -> impl Iterator<Item = Operation> {
        self.open.iter().map(|(request, ensure)| operation(*request, ensure))
    }
}

fn operation(request: RequestId, ensure: &Ensure) -> Operation {
    Operation::EnsureDurable(EnsureDurable {
        request,
        shard: ensure.shard,
        session_shard: ensure.session_shard,
        topic_filter: ensure.topic_filter.clone(),
    })
}
