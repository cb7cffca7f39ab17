//! The thread that reads rows of queued messages back from checkpoints.
//!
//! It takes all that was asked for meanwhile, and reads it in the order of its keys. How much can be asked for at once is
//! bounded by the core. Blocks that it has read it keeps, within a bound and until nobody asks any more. A row that is
//! damaged ends the process, as at a start.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use freshet_storage_core::Load;
use freshet_storage_log::{OpenError, RowLookup};

use super::news::News;

/// Rows after which those that were read are told.
const ROWS_TOLD_TOGETHER: usize = 1_024;

/// Rows that one turn takes: those who wait for them are answered in it, and what is live waits behind.
const ROWS_PER_TURN: usize = 256;

/// Blocks are given back when nobody has asked for so long.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A row that was read; none: there is none.
pub(super) type Loaded = (Load, Option<Bytes>);

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    asked: Option<Sender<Vec<Load>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    loaded: Mutex<VecDeque<Loaded>>,
    read_bytes: AtomicU64,
    kept_bytes: AtomicUsize,
}

impl Reader {
    /// Begins the thread.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(lookup: RowLookup, news: Arc<News>) -> io::Result<Self> {
        let (asked, loads) = channel();
        let shared = Arc::new(Shared::default());
        let told = shared.clone();
        let thread = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || run(lookup, &loads, &told, &news))?;
        Ok(Self {
            asked: Some(asked),
            thread: Some(thread),
            shared,
        })
    }

    /// Asks for rows.
    pub(super) fn ask(&self, loads: Vec<Load>) {
        if let Some(asked) = &self.asked
            && !loads.is_empty()
        {
            // Gone: it has failed, and said so; the process is about to end.
            drop(asked.send(loads));
        }
    }

    /// Takes rows that were read, and says whether there are more.
    pub(super) fn take(&self) -> (Vec<Loaded>, bool) {
        let mut loaded = lock(&self.shared.loaded);
        let some = loaded.len().min(ROWS_PER_TURN);
        (loaded.drain(..some).collect(), !loaded.is_empty())
    }

    /// Bytes that were read from the disk.
    pub(super) fn read_bytes(&self) -> u64 {
        self.shared.read_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of blocks that are kept.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.shared.kept_bytes.load(Ordering::Relaxed) as u64
    }

    /// Ends the thread.
    pub(super) fn close(mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            // It has said what was wrong.
            drop(thread.join());
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(mut lookup: RowLookup, asked: &Receiver<Vec<Load>>, shared: &Shared, news: &News) {
    while let Some(mut loads) = next(&mut lookup, asked, shared) {
        loads.extend(asked.try_iter().flatten());
        loads.sort_unstable();
        if let Err(error) = read(&mut lookup, &loads, shared, news) {
            tracing::error!(%error, "a queued message cannot be read from its checkpoint: the process ends");
            std::process::abort();
        }
    }
}

/// Waits for what is asked next; none: nobody will ask any more.
fn next(lookup: &mut RowLookup, asked: &Receiver<Vec<Load>>, shared: &Shared) -> Option<Vec<Load>> {
    if lookup.kept_bytes() > 0 {
        match asked.recv_timeout(KEPT_FOR) {
            Err(RecvTimeoutError::Timeout) => lookup.forget_blocks(),
            loads => return loads.ok(),
        }
        shared.kept_bytes.store(0, Ordering::Relaxed);
    }
    asked.recv().ok()
}

fn read(lookup: &mut RowLookup, loads: &[Load], shared: &Shared, news: &News) -> Result<(), OpenError> {
    for together in loads.chunks(ROWS_TOLD_TOGETHER) {
        let mut rows = VecDeque::with_capacity(together.len());
        for load in together {
            rows.push_back((*load, lookup.get(u32::from(load.shard.0), &load.key())?));
        }
        lock(&shared.loaded).append(&mut rows);
        shared.read_bytes.store(lookup.read_bytes(), Ordering::Relaxed);
        shared.kept_bytes.store(lookup.kept_bytes(), Ordering::Relaxed);
        news.went_on();
    }
    Ok(())
}
