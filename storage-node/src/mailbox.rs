//! What reaches the actor, bounded by messages and by bytes.

use std::sync::Arc;

use freshet_config::StorageConfig;
use freshet_storage_api::{AnswerSender, AttachRequest, DeliverySender, LinkNumber, ReceiveError};
use freshet_storage_contract::{DeliveryControl, IncarnationId, Operation};
use freshet_storage_core::{ProxyLeases, StorageStats};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::disk::DiskStats;

/// Messages that wait for the actor. Streams wait above it, and through them the proxies.
const MESSAGES: usize = 1_024;

/// Bytes of operations that wait for the actor: 64 MiB.
const BYTES: u32 = 64 << 20;

/// Names a link of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkKey {
    pub(crate) incarnation: IncarnationId,
    pub(crate) number: LinkNumber,
}

/// The sending side of one of a link's two streams. Dropping `_reader` stops the task that reads the stream.
#[derive(Debug)]
pub(crate) struct Half<S> {
    pub(crate) sender: S,
    pub(crate) _reader: oneshot::Sender<()>,
}

/// One stream of a link, attached by its proxy.
#[derive(Debug)]
pub(crate) enum AttachedStream {
    Operations(Half<AnswerSender>),
    Deliveries(Half<DeliverySender>),
}

/// A message to the actor.
#[derive(Debug)]
pub(crate) enum ToActor {
    /// The first frame of a stream has come.
    Attach {
        request: AttachRequest,
        stream: AttachedStream,
    },
    /// A frame of operations.
    Operations {
        link: LinkKey,
        operations: Vec<Operation>,
        _room: OwnedSemaphorePermit,
    },
    /// A frame of acknowledgements and credits.
    Controls {
        link: LinkKey,
        controls: Vec<DeliveryControl>,
    },
    /// A stream has ended; none: in order, by the proxy.
    Ended { link: LinkKey, error: Option<ReceiveError> },
    /// The configuration has changed.
    Reload(StorageConfig),
    /// For metrics.
    Stats(oneshot::Sender<(StorageStats, Option<DiskStats>)>),
    /// For who has to know which proxies are alive.
    Leases(oneshot::Sender<ProxyLeases>),
}

/// The posting side of the mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    messages: mpsc::Sender<ToActor>,
    bytes: Arc<Semaphore>,
}

/// The actor has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActorGone;

impl Mailbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<ToActor>) {
        let (messages, receiver) = mpsc::channel(MESSAGES);
        (
            Self {
                messages,
                bytes: Arc::new(Semaphore::new(BYTES as usize)),
            },
            receiver,
        )
    }

    pub(crate) async fn post(&self, message: ToActor) -> Result<(), ActorGone> {
        self.messages.send(message).await.map_err(|_| ActorGone)
    }

    /// Posts a frame of operations once there is room for its bytes.
    pub(crate) async fn post_operations(
        &self,
        link: LinkKey,
        operations: Vec<Operation>,
        bytes: usize,
    ) -> Result<(), ActorGone> {
        // A frame that is larger than all the room takes all of it.
        let bytes = u32::try_from(bytes).unwrap_or(BYTES).min(BYTES);
        let room = self
            .bytes
            .clone()
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| ActorGone)?;
        self.post(ToActor::Operations {
            link,
            operations,
            _room: room,
        })
        .await
    }
}
