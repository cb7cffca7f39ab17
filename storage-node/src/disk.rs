//! The disk of a node, beside a core that knows of none: what the core wants kept goes to the log, what is flushed acts,
//! and what the log would have to keep for ever becomes rows.
//!
//! Used by the actor and by `freshet standalone`. [`NodeDisk::open`] puts a core together from what was kept;
//! [`NodeDisk::turn`] belongs into each turn, before its answers leave. Nothing here waits for the disk: flushes,
//! checkpoints, and reads of what is queued have threads of their own. Bytes and files are `freshet_storage_log`'s, what
//! they mean is the core's.

mod checkpoints;
mod fault_points;
mod inspect;
mod news;
mod open;
mod reader;
mod stats;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use freshet_config::{DiskConfig, WhenFull};
use freshet_storage_contract::{MonotonicMs, Position, ShardId};
use freshet_storage_core::{LogRoom, Outputs, StorageCore};
use freshet_storage_log::{Class, LogHandle, Record, Refused, RefusedBecause};

use self::checkpoints::Checkpoints;
#[cfg(feature = "planted-faults")]
pub(crate) use self::fault_points::PLACES as FAULT_POINTS;
pub use self::inspect::{CheckpointView, LogView, MarksView};
use self::news::News;
pub use self::open::{DiskError, DiskOptions};
use self::reader::Reader;
pub use self::stats::DiskStats;

/// What records of the log are; there is one kind.
const ENTRY: u8 = 1;

/// The log and the checkpoints of a running node.
#[derive(Debug)]
pub struct NodeDisk {
    log: LogHandle,
    news: Arc<News>,
    checkpoints: Checkpoints,
    reader: Reader,
    config: DiskConfig,
    /// Records that the log had no room for, oldest first.
    waiting: VecDeque<Record>,
    /// Bytes that were handed to the log since the last checkpoint began.
    appended_bytes: u64,
    // Reused from call to call.
    flushed: Vec<(ShardId, Position)>,
}

impl NodeDisk {
    /// Ready when there is something to do for [`Self::turn`] that no deadline tells.
    pub fn poll_news(&self, cx: &Context<'_>) -> Poll<()> {
        self.news.poll(cx)
    }

    /// Lets act what was flushed, and hands over what is to be. What the core answers to it is in `out`.
    pub fn turn(&mut self, core: &mut StorageCore, now: MonotonicMs, out: &mut Outputs) {
        self.news.take(&mut self.flushed);
        if !self.flushed.is_empty() {
            core.flushed(&self.flushed, now, out);
            self.flushed.clear();
        }
        self.bring_loaded(core, now, out);
        core.set_log_room(match self.config.when_full {
            _ if !self.log.is_full() => LogRoom::Free,
            WhenFull::Hold => LogRoom::Hold,
            WhenFull::Refuse => LogRoom::Refuse,
        });
        core.set_disk_bytes(self.log.disk_bytes());
        self.append(core);
        self.checkpoints.turn(core, &mut self.appended_bytes, now, out);
        self.reader.ask(core.take_loads().collect());
        // What has acted is answered when this returns.
        fault_points::reach("before_answers");
    }

    /// Brings what was read of checkpoints.
    fn bring_loaded(&self, core: &mut StorageCore, now: MonotonicMs, out: &mut Outputs) {
        let (loaded, more) = self.reader.take();
        if loaded.is_empty() {
            return;
        }
        if more {
            self.news.went_on();
        }
        if let Err(error) = core.loaded(loaded, now, out) {
            // It would be passed over, though it was acknowledged.
            tracing::error!(%error, "a queued message is not in its checkpoint: the process ends");
            std::process::abort();
        }
    }

    /// More waits than the log takes: nothing new should come until [`Self::poll_news`] is ready.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When [`Self::turn`] has something to do though nobody says so.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        self.checkpoints.next_deadline()
    }

    /// Takes up a changed configuration.
    pub fn reload(&mut self, config: DiskConfig) {
        self.config = config;
    }

    /// What is on the disk, and what it has cost.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        DiskStats {
            log: self.log.stats(),
            rows: self.checkpoints.stats(),
            read_bytes: self.reader.read_bytes(),
            read_kept_bytes: self.reader.kept_bytes(),
            is_full: self.log.is_full(),
        }
    }

    /// Writes and flushes what was handed over, and ends the threads.
    pub fn close(self) {
        self.log.stop();
        self.checkpoints.close();
        self.reader.close();
    }

    fn append(&mut self, core: &mut StorageCore) {
        self.waiting.extend(take_records(core));
        if self.waiting.is_empty() {
            return;
        }
        fault_points::reach("before_append");
        let records = Vec::from(std::mem::take(&mut self.waiting));
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        // What may not use the reserve was held back before it was proposed.
        match self.log.append(records, Class::Control) {
            Ok(()) => {
                self.appended_bytes += bytes as u64;
                fault_points::reach("after_append");
            }
            // Full until the next flush; or stopped, which it has said, and the process is about to end.
            Err(Refused {
                records,
                reason: RefusedBecause::QueueFull | RefusedBecause::Stopped,
            }) => self.waiting = records.into(),
            Err(refused) => {
                // What was proposed has to be written, or positions would be missing: nothing can go on from here.
                tracing::error!(error = %refused, "the log takes a record neither now nor later: the process ends");
                std::process::abort();
            }
        }
    }
}

/// What the core wants kept, as the log takes it.
fn take_records(core: &mut StorageCore) -> impl Iterator<Item = Record> + '_ {
    core.take_records().map(|(shard, position, bytes)| Record {
        shard: u32::from(shard.0),
        position: position.0,
        kind: ENTRY,
        bytes,
    })
}
