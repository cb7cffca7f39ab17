//! When checkpoints are taken, and the thread that writes them.
//!
//! A round takes some rows from the core in each turn, so that no turn is long, and waits while the thread has enough to
//! write. With the round's end the rows count, and the log is told what it need not keep any more. Rows on disk are merged
//! while nothing is to be written, and first where they would take too much room.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use freshet_storage_contract::{MonotonicMs, Position, ShardId};
use freshet_storage_core::{Outputs, StorageCore};
use freshet_storage_log::{FatalError, LogHandle, RowError, RowStats, RowStore, abort_process};

use super::fault_points;
use super::inspect::CheckpointView;
use super::news::News;

/// It begins at once when the log has grown by this much.
const AFTER_BYTES: u64 = 32 << 20;
/// Rows of one turn.
const ROWS_PER_TURN: usize = 1_024;
/// What may wait for the thread: so many turns' rows.
const WAITING_CHUNKS: usize = 4;
/// Pause before a full disk is tried again.
const FULL_AGAIN_AFTER: Duration = Duration::from_secs(1);

type RowChange = (ShardId, Bytes, Option<Bytes>);

/// To the thread.
enum ToWriter {
    Rows(Vec<RowChange>),
    /// All rows since the last of these are the state at these positions.
    Commit(Vec<(ShardId, Position)>),
}

/// What the thread says.
#[derive(Debug, Default)]
struct Shared {
    stats: RowStats,
    /// Checkpoints that have ended.
    committed: u64,
    /// What the last one has, also of an earlier life.
    applied: Vec<(u32, u64)>,
    /// The same, until the core has been told.
    news: Option<Vec<(ShardId, Position)>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Checkpoints {
    writer: Option<SyncSender<ToWriter>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Mutex<Shared>>,
    round: Round,
    /// A checkpoint begins this long after the one before has ended.
    interval: Duration,
    /// When the last one was seen to have ended; none: none has since the start.
    ended_at: Option<MonotonicMs>,
    /// Bytes of the log that the one that runs makes unnecessary, about.
    round_bytes: u64,
    /// What the thread had no room for yet, oldest first.
    handing: VecDeque<ToWriter>,
}

/// How far the checkpoint has come.
#[derive(Debug)]
enum Round {
    /// None runs; the next one begins at this time if there is something for it.
    Idle { next_at: MonotonicMs },
    /// Rows are being taken.
    Taking,
    /// All were; ends when so many checkpoints have been committed.
    Committing { until: u64 },
}

impl fmt::Debug for ToWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "Rows({})", rows.len()),
            Self::Commit(applied) => f.debug_tuple("Commit").field(applied).finish(),
        }
    }
}

impl Checkpoints {
    /// Begins the thread.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(
        store: RowStore,
        log: LogHandle,
        news: Arc<News>,
        interval: Duration,
        now: MonotonicMs,
    ) -> io::Result<Self> {
        let (writer, messages) = sync_channel(WAITING_CHUNKS);
        let shared = Arc::new(Mutex::new(Shared {
            stats: store.stats(),
            committed: 0,
            applied: store.applied().to_vec(),
            news: None,
        }));
        let writes = Writer {
            log,
            news,
            shared: shared.clone(),
        };
        let thread = thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || writes.run(store, &messages))?;
        Ok(Self {
            writer: Some(writer),
            thread: Some(thread),
            shared,
            round: Round::Idle {
                next_at: now.plus(interval),
            },
            interval,
            ended_at: None,
            round_bytes: 0,
            handing: VecDeque::new(),
        })
    }

    /// Goes on with the checkpoint, or begins one when it is time. `appended_bytes` is what went to the log since the
    /// last one began.
    pub(super) fn turn(
        &mut self,
        core: &mut StorageCore,
        appended_bytes: &mut u64,
        now: MonotonicMs,
        out: &mut Outputs,
    ) {
        let safe = lock(&self.shared).news.take();
        if let Some(applied) = safe {
            core.checkpointed(&applied, now, out);
        }
        self.hand_over();
        match self.round {
            Round::Committing { until } if self.committed() >= until => {
                let next_at = now.plus(self.interval);
                self.round = Round::Idle { next_at };
                self.ended_at = Some(now);
                self.round_bytes = 0;
            }
            Round::Idle { next_at } if now >= next_at && *appended_bytes == 0 => {
                let next_at = now.plus(self.interval);
                self.round = Round::Idle { next_at };
            }
            Round::Idle { next_at } if now >= next_at || *appended_bytes >= AFTER_BYTES => {
                self.round_bytes = std::mem::take(appended_bytes);
                self.round = Round::Taking;
            }
            Round::Taking if self.handing.is_empty() => self.take(core),
            _ => {}
        }
    }

    /// When the next one may begin, or goes on.
    pub(super) fn next_deadline(&self) -> Option<MonotonicMs> {
        match self.round {
            Round::Idle { next_at } => Some(next_at),
            Round::Taking if self.handing.is_empty() => Some(MonotonicMs(0)),
            // The thread says so.
            Round::Taking | Round::Committing { .. } => None,
        }
    }

    pub(super) fn stats(&self) -> RowStats {
        lock(&self.shared).stats
    }

    /// What the last checkpoint has of each shard.
    pub(super) fn applied(&self) -> Vec<(u32, u64)> {
        lock(&self.shared).applied.clone()
    }

    /// Checkpoints as people look at them; `appended_bytes` is what the log has got since the last one began.
    pub(super) fn view(&self, appended_bytes: u64, now: MonotonicMs) -> CheckpointView {
        let age_ms = |at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let stats = self.stats();
        CheckpointView {
            age_ms: self.ended_at.map(age_ms),
            is_running: !matches!(self.round, Round::Idle { .. }),
            count: self.committed(),
            rows: stats.base_rows + stats.delta_rows,
            bytes: stats.base_bytes + stats.delta_bytes,
            replay_bytes: self.round_bytes + appended_bytes,
        }
    }

    /// Ends the thread. A checkpoint that is not whole has never been.
    pub(super) fn close(mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.take() {
            // It has said what was wrong.
            drop(thread.join());
        }
    }

    fn take(&mut self, core: &mut StorageCore) {
        let mut rows = Vec::new();
        let applied = core.take_changes(ROWS_PER_TURN, |shard, key, value| rows.push((shard, key, value)));
        self.handing.push_back(ToWriter::Rows(rows));
        if let Some(applied) = applied {
            self.handing.push_back(ToWriter::Commit(applied));
            let until = self.committed() + 1;
            self.round = Round::Committing { until };
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        let Some(writer) = &self.writer else { return };
        while let Some(message) = self.handing.pop_front() {
            // Gone: it has failed, and said so; the process is about to end.
            if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) = writer.try_send(message) {
                self.handing.push_front(message);
                return;
            }
        }
    }

    fn committed(&self) -> u64 {
        lock(&self.shared).committed
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side.
struct Writer {
    log: LogHandle,
    news: Arc<News>,
    shared: Arc<Mutex<Shared>>,
}

impl Writer {
    /// Writes checkpoints until nobody sends any more.
    fn run(self, mut store: RowStore, messages: &Receiver<ToWriter>) {
        loop {
            match self.write(&mut store, messages) {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => return abort_process(failure),
            }
        }
    }

    /// Writes one checkpoint. False: nobody sends any more.
    fn write(&self, store: &mut RowStore, messages: &Receiver<ToWriter>) -> Result<bool, FatalError> {
        let mut next = self.merge_until_first(store, messages)?;
        let mut checkpoint = store.checkpoint();
        let (safe, applied) = loop {
            let Some(message) = next else {
                return Ok(false);
            };
            self.news.went_on();
            match message {
                ToWriter::Rows(rows) => {
                    for (shard, key, value) in rows {
                        fatal(checkpoint.put(u32::from(shard.0), key, value))?;
                    }
                }
                ToWriter::Commit(applied) => {
                    let numbers = numbers(&applied);
                    break (applied, numbers);
                }
            }
            next = messages.recv().ok();
        };
        fault_points::reach("before_checkpoint_commit");
        let mut is_told = false;
        while let Some(full) = fatal(checkpoint.commit(&applied))? {
            if !is_told {
                tracing::error!(error = %full, "no room for a checkpoint: the log grows until there is");
                is_told = true;
            }
            // A core that has gone has nobody who needs it any more.
            if let Err(RecvTimeoutError::Disconnected) = messages.recv_timeout(FULL_AGAIN_AFTER) {
                return Ok(false);
            }
        }
        drop(checkpoint);
        fault_points::reach("after_checkpoint_commit");
        self.log.release(&applied);
        let mut shared = lock(&self.shared);
        shared.news = Some(safe);
        shared.stats = store.stats();
        shared.committed += 1;
        shared.applied = applied;
        drop(shared);
        self.news.went_on();
        Ok(true)
    }

    /// Merges rows until the next checkpoint begins, and returns its first message; none: nobody sends any more.
    fn merge_until_first(
        &self,
        store: &mut RowStore,
        messages: &Receiver<ToWriter>,
    ) -> Result<Option<ToWriter>, FatalError> {
        loop {
            if !store.must_merge_first() {
                match messages.try_recv() {
                    Ok(message) => return Ok(Some(message)),
                    Err(TryRecvError::Disconnected) => return Ok(None),
                    Err(TryRecvError::Empty) => {}
                }
            }
            let goes_on = match store.merge_some() {
                Ok(goes_on) => goes_on,
                Err(RowError::Fatal(failure)) => return Err(failure),
                Err(error) => {
                    tracing::warn!(%error, "rows were not merged: they take more room than they need, until the next time");
                    false
                }
            };
            lock(&self.shared).stats = store.stats();
            if !goes_on {
                return Ok(messages.recv().ok());
            }
        }
    }
}

/// An error after which the process can go on; none: it was done.
fn fatal<T>(done: Result<T, RowError>) -> Result<Option<RowError>, FatalError> {
    match done {
        Ok(_) => Ok(None),
        Err(RowError::Fatal(failure)) => Err(failure),
        Err(error) => Ok(Some(error)),
    }
}

fn numbers(applied: &[(ShardId, Position)]) -> Vec<(u32, u64)> {
    applied.iter().map(|(shard, at)| (u32::from(shard.0), at.0)).collect()
}
