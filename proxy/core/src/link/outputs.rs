//! What the link wants done: frames for storage, events for workers, facts for the log.

use freshet_storage_contract::{DeliveryControl, Operation, ShardId};
use thiserror::Error;

use freshet_storage_contract::{DeliverySeq, PublishSeq};

use crate::exchange::{ToWorker, WorkerId};

/// Collected over a turn and drained by the shell; the vectors keep their capacity.
#[derive(Debug)]
pub struct LinkOutputs {
    /// For the stream of operations, in this order.
    pub operations: Vec<Operation>,
    /// For the stream of deliveries, in this order.
    pub controls: Vec<DeliveryControl>,
    /// For each worker, in this order.
    pub to_workers: Vec<Vec<ToWorker>>,
}

impl LinkOutputs {
    /// Outputs for a proxy of so many workers.
    #[must_use]
    pub fn new(workers: u16) -> Self {
        Self {
            operations: Vec::new(),
            controls: Vec::new(),
            to_workers: (0..workers).map(|_| Vec::new()).collect(),
        }
    }

    pub(super) fn tell(&mut self, worker: WorkerId, event: ToWorker) {
        // A worker that does not exist cannot have asked.
        if let Some(events) = self.to_workers.get_mut(usize::from(worker.0)) {
            events.push(event);
        }
    }

    pub(super) fn tell_all(&mut self, event: &ToWorker) {
        for events in &mut self.to_workers {
            events.push(event.clone());
        }
    }
}

/// Storage has said what the contract does not allow. The stream is closed and begun anew.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// An answer skips publications.
    #[error("shard {shard} answered publication {found}, {expected} was next")]
    OutcomeGap {
        /// The shard.
        shard: ShardId,
        /// Number that was next.
        expected: PublishSeq,
        /// Number that was answered.
        found: PublishSeq,
    },
    /// A delivery is missing.
    #[error("shard {shard} delivered {found} after {received}")]
    DeliveryGap {
        /// The shard.
        shard: ShardId,
        /// Last delivery received.
        received: DeliverySeq,
        /// Number of this one.
        found: DeliverySeq,
    },
    /// A shard that the placement does not have.
    #[error("shard {0} does not exist")]
    UnknownShard(ShardId),
    /// The placement changed under the same cluster UID.
    #[error("the number of shards changed from {from} to {to}: it is fixed at creation")]
    ShardsChanged {
        /// Number at the first attach.
        from: u16,
        /// Number now.
        to: u16,
    },
    /// Placement settings that cannot be used.
    #[error(transparent)]
    Placement(#[from] freshet_storage_contract::PlacementError),
}
