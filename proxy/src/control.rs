//! What the rest of the process tells a worker, and the door through which it does.
//!
//! Used by the acceptors, the configuration's watcher, the metrics and the drain: all of them tasks of the admin runtime,
//! none of them on the way of a message.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use freshet_config::ProxyConfig;
use freshet_proxy_core::worker::{DrainPace, ListenerIndex, MovePace};
use freshet_storage_contract::ProxyReport;
use tokio::sync::{mpsc, oneshot};

use crate::capacity::{ConnectionPermit, ListenerCount};
use crate::driver::WorkerReport;
use crate::mailbox::Sleeper;

/// Letters that wait for a worker; whoever has more waits.
const CAPACITY: usize = 1_024;

/// Told to a worker.
#[derive(Debug)]
pub(crate) enum Control {
    /// A new connection.
    Connection(AcceptedConnection),
    /// The configuration has changed.
    Reload(Arc<ProxyConfig>),
    /// The listener is gone: its connections end.
    CloseListener(ListenerIndex),
    /// The proxy hands over its clients and ends.
    Drain(DrainPace),
    /// The proxy gives clients away.
    Move(Box<MovePace>),
    /// It gives nobody away any more.
    EndMoves,
    /// What all workers have done, for storage. For the worker that has the link.
    Count(Box<ProxyReport>),
    /// Somebody wants to know.
    Report(oneshot::Sender<WorkerReport>),
    /// The thread is to end.
    Stop,
}

/// A connection on its way to its worker.
#[derive(Debug)]
pub(crate) struct AcceptedConnection {
    pub(crate) descriptor: OwnedFd,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: ConnectionPermit,
}

/// The way to one worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerDoor {
    letters: mpsc::Sender<Control>,
    sleeper: Arc<Sleeper>,
    open: Arc<AtomicU32>,
}

impl WorkerDoor {
    /// A door, and what the worker reads behind it.
    pub(crate) fn new(sleeper: Arc<Sleeper>) -> (Self, mpsc::Receiver<Control>) {
        let (letters, behind) = mpsc::channel(CAPACITY);
        let door = Self {
            letters,
            sleeper,
            open: Arc::default(),
        };
        (door, behind)
    }

    /// Tells the worker something, waiting while too much is in front of it. A worker that has ended hears nothing.
    pub(crate) async fn tell(&self, control: Control) {
        if self.letters.send(control).await.is_ok() {
            self.sleeper.ring();
        }
    }

    /// Puts a letter behind the door without waking the worker, unless there is no room for it: [`Self::ring`] follows when
    /// all of several have been put there.
    pub(crate) async fn put(&self, control: Control) {
        if let Err(mpsc::error::TrySendError::Full(control)) = self.letters.try_send(control) {
            self.ring();
            self.tell(control).await;
        }
    }

    /// Wakes the worker if it waits.
    pub(crate) fn ring(&self) {
        self.sleeper.ring();
    }

    /// Asks the worker how it is; none: it has ended or does not answer within `patience`.
    pub(crate) async fn ask(&self, patience: Duration) -> Option<WorkerReport> {
        let (reply, answer) = oneshot::channel();
        tokio::time::timeout(patience, async {
            self.tell(Control::Report(reply)).await;
            answer.await.ok()
        })
        .await
        .ok()
        .flatten()
    }

    /// Connections that were dealt to the worker and are open.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection in for this worker; none: a bound is reached.
    pub(crate) fn admit(&self, listener: &Arc<ListenerCount>) -> Option<ConnectionPermit> {
        listener.admit(&self.open)
    }
}
