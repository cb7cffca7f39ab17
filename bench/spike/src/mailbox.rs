//! A worker's mailbox: a bounded queue and an eventfd that is written only when the worker sleeps.
//!
//! Used between workers, by the acceptor, and by driver C's storage thread. The eventfd is watched edge-triggered by the
//! worker's epoll set and never read: every write is an edge.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use crate::batch::Batch;

/// Letters a mailbox holds before its senders have to wait.
const CAPACITY: usize = 1024;

/// What others ask of a worker.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A new client.
    Connection(OwnedFd),
    /// A batch that storage returned (driver C; with driver A it does not cross a thread).
    Returned(Batch),
    /// Records that this worker's own connections want, by their offsets.
    Deliver { records: Bytes, offsets: Vec<usize> },
    /// Worker `worker` has receivers for `filter`.
    Interest {
        filter: Box<[u8]>,
        worker: usize,
        confirmation: Confirmation,
    },
    /// All replicas of the table know the subscription: SUBACK may leave.
    Subscribed { token: u64, packet_id: u16, qos: u8 },
}

/// Who waits for a filter to be known everywhere; the replica that applies it last tells the worker that asked.
#[derive(Debug, Clone)]
pub(crate) struct Confirmation {
    pub(crate) token: u64,
    pub(crate) packet_id: u16,
    pub(crate) qos: u8,
    pub(crate) missing: Arc<AtomicUsize>,
}

/// The sending side.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    letters: mpsc::Sender<Mail>,
    sleeper: Arc<Sleeper>,
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct Mailbox {
    letters: mpsc::Receiver<Mail>,
    sleeper: Arc<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    asleep: AtomicBool,
    bell: OwnedFd,
}

/// Creates a worker's mailbox.
///
/// # Errors
/// When no eventfd can be made.
pub(crate) fn open() -> rustix::io::Result<(Address, Mailbox)> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let sleeper = Arc::new(Sleeper {
        asleep: AtomicBool::new(false),
        bell,
    });
    Ok((
        Address {
            letters: sender,
            sleeper: Arc::clone(&sleeper),
        },
        Mailbox {
            letters: receiver,
            sleeper,
        },
    ))
}

impl Address {
    /// Posts without waiting and says whether the bell was rung.
    ///
    /// # Errors
    /// The letter itself when the mailbox is full or its worker is gone.
    pub(crate) fn post(&self, mail: Mail) -> Result<bool, Mail> {
        self.letters
            .try_send(mail)
            .map_err(mpsc::error::TrySendError::into_inner)?;
        Ok(self.sleeper.wake())
    }

    /// Posts, waiting while the mailbox is full, and says whether the bell was rung; `None` when the worker is gone.
    pub(crate) async fn post_when_there_is_room(&self, mail: Mail) -> Option<bool> {
        self.letters.send(mail).await.ok()?;
        Some(self.sleeper.wake())
    }

    /// As [`Self::post_when_there_is_room`], for a thread without a runtime.
    pub(crate) fn post_blocking(&self, mail: Mail) -> Option<bool> {
        self.letters.blocking_send(mail).ok()?;
        Some(self.sleeper.wake())
    }
}

impl Mailbox {
    /// What the worker's epoll set watches.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.sleeper.bell.as_fd()
    }

    pub(crate) fn take(&mut self) -> Option<Mail> {
        self.letters.try_recv().ok()
    }

    /// Announces sleep, and says whether the worker may really sleep: a letter that came before the announcement rang
    /// no bell.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeper.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.letters.is_empty()
    }

    pub(crate) fn wake_up(&self) {
        self.sleeper.asleep.store(false, Ordering::SeqCst);
    }
}

impl Sleeper {
    fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        // The load first: while the worker is awake its flag stays a shared cache line.
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // A full counter (2^64 - 1) cannot happen, and would still be an edge.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
            return true;
        }
        false
    }
}
