//! A storage node: its actor and its listener for proxies, started and stopped together.

use std::{future::Future, sync::Arc, time::Duration};

use freshet_config::StorageConfig;
use freshet_storage_api::ConnectionCount;
use freshet_storage_contract::{PlacementError, Term};
use freshet_storage_core::{ProxyLeases, StorageCore, StorageSettings, StorageStats};
use thiserror::Error;
use tokio::{net::TcpListener, sync::oneshot, time::timeout};

use crate::{
    actor::{Actor, LastTurn},
    clock::{self, Clock},
    disk::{DiskError, DiskOptions, DiskStats, NodeDisk},
    inspection::Looker,
    mailbox::{Mailbox, ToActor},
    metrics::{Metrics, StorageMetrics},
    streams::Streams,
};

/// How long streams may take to end in order at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// An actor that has taken no turn for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// How long a question to the actor may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a node does not start, or has stopped by itself.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The settings cannot be used.
    #[error("placement settings: {0}")]
    Placement(#[from] PlacementError),
    /// What is on the disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The transport failed as a whole.
    #[error("serving proxies failed: {0}")]
    Serve(String),
    /// The actor has panicked.
    #[error("the storage actor has ended by itself")]
    ActorGone,
}

/// A node that is about to serve.
pub struct Node {
    actor: Actor,
    handle: NodeHandle,
}

/// What the rest of the process asks of a node.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    mailbox: Mailbox,
    looker: Looker,
    metrics: Arc<Metrics>,
    connections: ConnectionCount,
    last_turn: LastTurn,
    clock: Clock,
}

impl Node {
    /// A node without memory of an earlier life.
    ///
    /// # Errors
    /// [`NodeError::Placement`].
    pub fn new(settings: StorageSettings) -> Result<Self, NodeError> {
        Self::with_term_floor(settings, clock::term_floor())
    }

    /// Like [`Self::new`], with the lowest term given.
    ///
    /// # Errors
    /// [`NodeError::Placement`].
    pub fn with_term_floor(settings: StorageSettings, term_floor: Term) -> Result<Self, NodeError> {
        let clock = Clock::new();
        let core = StorageCore::new(settings, term_floor, clock.now())?;
        Ok(Self::of(core, None, clock))
    }

    /// A node that goes on from what its disk has kept. Reads the disk before it returns.
    ///
    /// # Errors
    /// [`NodeError::Disk`].
    pub fn open(disk: &DiskOptions, settings: StorageSettings) -> Result<Self, NodeError> {
        let clock = Clock::new();
        let (core, disk) = NodeDisk::open(disk, settings, clock::term_floor(), clock.now())?;
        Ok(Self::of(core, Some(disk), clock))
    }

    fn of(core: StorageCore, disk: Option<NodeDisk>, clock: Clock) -> Self {
        let (mailbox, receiver) = Mailbox::new();
        let (looker, looks) = Looker::new();
        let metrics = Arc::new(Metrics::new());
        let last_turn = LastTurn::default();
        let actor = Actor::new(core, disk, (receiver, looks), clock, metrics.clone(), last_turn.clone());
        let handle = NodeHandle {
            mailbox,
            looker,
            metrics,
            connections: ConnectionCount::default(),
            last_turn,
            clock,
        };
        Self { actor, handle }
    }

    /// For health, metrics and configuration.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Serves proxies on `listener` until `shutdown` is ready, then ends all streams and returns within seconds.
    ///
    /// # Errors
    /// [`NodeError`] when the node cannot go on: the process is to end.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
        let (stop_actor, stopped) = oneshot::channel();
        let (stop_accepting, accepting) = oneshot::channel::<()>();
        let streams = Arc::new(Streams::new(self.handle.mailbox.clone()));
        let mut actor = tokio::spawn(self.actor.run(stopped));
        let mut transport = tokio::spawn(freshet_storage_api::serve(
            listener,
            streams,
            self.handle.connections.clone(),
            async move {
                // Dropped: this function has been.
                let _ = accepting.await;
            },
        ));
        tokio::select! {
            () = shutdown => {}
            _ = &mut actor => {
                transport.abort();
                return Err(NodeError::ActorGone);
            }
            ended = &mut transport => {
                let why = match ended {
                    Ok(Ok(())) => "ended by itself".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                return Err(NodeError::Serve(why));
            }
        }
        // First nobody new, then the streams that are open.
        drop(stop_accepting);
        drop(stop_actor);
        if timeout(SHUTDOWN_TIMEOUT, async { (actor.await, (&mut transport).await) })
            .await
            .is_err()
        {
            tracing::warn!("connections did not end in time");
            transport.abort();
        }
        Ok(())
    }
}

impl NodeHandle {
    /// Whether the actor takes its turns.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.clock.now().since(self.last_turn.get()) < STUCK_AFTER
    }

    /// Takes up a changed configuration as far as a running node can.
    pub async fn reload(&self, config: StorageConfig) {
        // Gone: the process is ending.
        let _ = self.mailbox.post(ToActor::Reload(config)).await;
    }

    /// Looks at the node, for people.
    #[must_use]
    pub fn looker(&self) -> Looker {
        self.looker.clone()
    }

    /// The core's figures; none when the actor does not answer in time.
    pub async fn stats(&self) -> Option<StorageStats> {
        self.all_stats().await.map(|(core, _)| core)
    }

    async fn all_stats(&self) -> Option<(StorageStats, Option<DiskStats>)> {
        self.ask(ToActor::Stats).await
    }

    /// Which proxies have leases; none when the actor does not answer in time.
    pub async fn proxy_leases(&self) -> Option<ProxyLeases> {
        self.ask(ToActor::Leases).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> ToActor) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.mailbox.post(question(reply)).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_TIMEOUT, ask).await.ok().flatten()
    }

    /// All metrics in the OpenMetrics text format; none when the actor does not answer in time.
    pub async fn metrics(&self) -> Option<String> {
        let (core, disk) = self.all_stats().await?;
        let now = self.clock.now();
        let figures = StorageMetrics { core, disk, now };
        self.metrics.encode(figures, &self.connections).ok()
    }
}
