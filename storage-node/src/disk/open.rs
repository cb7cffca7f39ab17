//! Puts a node together from what its disk has kept.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use freshet_config::DiskConfig;
use freshet_storage_contract::{MonotonicMs, PlacementError, Position, ShardId, Term};
use freshet_storage_core::{Restore, RestoreError, StorageCore, StorageSettings};
use freshet_storage_log::{
    Class, CommitLog, DataDirectory, Disk, Durable, LogHandle, LogOptions, OpenError, RealDisk, RowOptions, RowStore,
    Space, abort_process,
};
use thiserror::Error;

use super::checkpoints::Checkpoints;
use super::fault_points::reach;
use super::news::News;
use super::reader::Reader;
use super::{ENTRY, NodeDisk, take_records};

/// How often a long start says how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Number of the segment that a log begins with.
const FIRST_SEGMENT: u64 = 1;
/// No segment of the log is smaller: it takes the largest item that may come from a proxy.
const LEAST_SEGMENT_BYTES: u64 = 8 << 20;
/// Of the bytes of queued messages that may be in memory, the part that may be blocks of checkpoints beside them.
const PART_KEPT_OF_RESIDENT: u64 = 2;

/// Where the disk is, and what is drawn at each start.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// The folder; made when it is not there.
    pub folder: PathBuf,
    /// What happens before the disk is full.
    pub config: DiskConfig,
    /// A checkpoint of the state is begun this long after the one before, or when the log has grown by 32 MiB: together
    /// the bound of what a start applies again.
    pub checkpoint_interval: Duration,
    /// Random: names the node when the folder is empty.
    pub fresh_uuid: u128,
    /// Random: marks what this life writes.
    pub entropy: u64,
}

/// Why a node cannot go on from its disk. It must not start without it: it would forget what it has acknowledged.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The folder cannot be used.
    #[error("{folder}: {source}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in the folder cannot be used.
    #[error("{folder}: {source}")]
    Content {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// What was kept does not fit the settings, or cannot be understood.
    #[error("{folder}: {source}")]
    Restore {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: RestoreError,
    },
    /// There is a checkpoint, and no log: what was acknowledged behind it is gone.
    #[error(
        "{folder}: there is a checkpoint, and the log behind it is gone: put back all files of the folder as they were \
         together, or give up what it held and begin with an empty one"
    )]
    LogGone {
        /// Where.
        folder: PathBuf,
    },
    /// The log has a record of a kind that this version does not write.
    #[error(
        "{folder}: the record at position {position} of shard {shard} is of kind {kind}, which this version does not know: \
         a later one wrote it, and has to read it"
    )]
    UnknownRecord {
        /// Which.
        folder: PathBuf,
        /// Its kind.
        kind: u8,
        /// Its shard.
        shard: u32,
        /// Its position there.
        position: u64,
    },
    /// The settings cannot be used.
    #[error("placement settings: {0}")]
    Placement(#[from] PlacementError),
}

impl NodeDisk {
    /// Opens the folder and puts the core together: rows of the last checkpoint, then what the log has beyond it.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(
        options: &DiskOptions,
        settings: StorageSettings,
        term_floor: Term,
        now: MonotonicMs,
    ) -> Result<(StorageCore, Self), DiskError> {
        let folder = &options.folder;
        let of_folder = |source| DiskError::Folder {
            folder: folder.clone(),
            source,
        };
        let of_content = |source| DiskError::Content {
            folder: folder.clone(),
            source,
        };
        let disk = RealDisk::open(folder).map_err(of_folder)?;
        #[cfg(feature = "planted-faults")]
        let disk = freshet_storage_log::VolatileDisk::new(disk);
        let disk = Arc::new(disk);
        let space = disk.space().map_err(of_folder)?;
        let directory = DataDirectory::open(disk, options.fresh_uuid.to_be_bytes(), &settings.cluster_uid.0);
        let directory = directory.map_err(of_content)?;
        let (log_options, row_options) = sizes(options, space);
        let rows = RowStore::open(&directory, row_options).map_err(of_content)?;
        let log = CommitLog::open(&directory, log_options).map_err(of_content)?;
        let kept_bytes = usize::try_from(settings.queued_resident_bytes / PART_KEPT_OF_RESIDENT).unwrap_or(usize::MAX);
        let (mut core, applied_bytes) = Reading::new(folder, settings)?.read(&rows, &log, term_floor, now)?;

        let news = Arc::new(News::default());
        let (told, opener) = (news.clone(), thread::current());
        let on_durable = move |durable: Durable| {
            told.flushed(&durable);
            opener.unpark();
        };
        let log = log.start(on_durable, abort_process).map_err(of_folder)?;
        flush_first_records(&mut core, &log, &news).map_err(of_folder)?;
        let reader = Reader::start(rows.lookup(kept_bytes), news.clone()).map_err(of_folder)?;
        let checkpoints =
            Checkpoints::start(rows, log.clone(), news.clone(), options.checkpoint_interval, now).map_err(of_folder)?;
        core.set_disk_bytes(space.total_bytes);
        let disk = Self {
            log,
            news,
            checkpoints,
            reader,
            config: options.config,
            waiting: VecDeque::new(),
            // A node that dies again and again before its first checkpoint would apply more each time.
            appended_bytes: applied_bytes,
            flushed: Vec::new(),
        };
        Ok((core, disk))
    }
}

/// Sizes of what is written to the volume.
fn sizes(options: &DiskOptions, space: Space) -> (LogOptions, RowOptions) {
    let mut log = LogOptions::for_volume(space, options.entropy);
    log.segment_bytes = log.segment_bytes.max(LEAST_SEGMENT_BYTES);
    log.reserve_bytes = options.config.reserve_bytes(space.total_bytes);
    let rows = RowOptions::default();
    #[cfg(feature = "planted-faults")]
    let (log, rows) = crate::for_tests::shrunk(&log, &rows);
    (log, rows)
}

/// Flushes what the core begins with, its term above all: nobody may have heard of a term that the next life uses again.
fn flush_first_records(core: &mut StorageCore, log: &LogHandle, news: &News) -> io::Result<()> {
    let records: Vec<_> = take_records(core).collect();
    let last: BTreeMap<_, _> = records
        .iter()
        .map(|record| (shard_id(record.shard), Position(record.position)))
        .collect();
    log.append(records, Class::Control).map_err(io::Error::other)?;
    while !news.covers(&last) {
        // The writer unparks this thread; a flush that fails ends the process.
        thread::park_timeout(PROGRESS_INTERVAL);
    }
    reach("first_records_flushed");
    Ok(())
}

/// A core that is being put together, and how far that is.
struct Reading<'a> {
    folder: &'a Path,
    restore: Restore,
    shards: u16,
    began: Instant,
    told: Instant,
    rows: u64,
    records: u64,
    record_bytes: u64,
}

impl<'a> Reading<'a> {
    fn new(folder: &'a Path, settings: StorageSettings) -> Result<Self, DiskError> {
        let now = Instant::now();
        Ok(Self {
            folder,
            shards: settings.shards,
            restore: Restore::new(settings)?,
            began: now,
            told: now,
            rows: 0,
            records: 0,
            record_bytes: 0,
        })
    }

    /// The core, and the bytes of records that it had to apply.
    fn read(
        mut self,
        rows: &RowStore,
        log: &CommitLog,
        term_floor: Term,
        now: MonotonicMs,
    ) -> Result<(StorageCore, u64), DiskError> {
        // The segment that is written stays, whatever checkpoints have: one that was just made has nothing before it.
        let recovery = log.recovery();
        if !rows.applied().is_empty() && recovery.last.is_empty() && recovery.end.segment == FIRST_SEGMENT {
            let folder = self.folder.to_owned();
            return Err(DiskError::LogGone { folder });
        }
        self.read_rows(rows)?;
        self.read_records(log)?;
        let Self { rows, records, .. } = self;
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let torn_bytes = log.recovery().torn_bytes;
        tracing::info!(rows, records, torn_bytes, took_ms, "the disk was read");
        Ok((self.restore.finish(term_floor, now), self.record_bytes))
    }

    fn read_rows(&mut self, rows: &RowStore) -> Result<(), DiskError> {
        for (shard, _) in rows.applied() {
            if *shard >= u32::from(self.shards) {
                return Err(self.not_restored(RestoreError::UnknownShard(shard_id(*shard))));
            }
        }
        for (shard, _) in rows.applied() {
            let shard_id = shard_id(*shard);
            for row in rows.rows(*shard).map_err(|source| self.unreadable(source))? {
                let (key, value) = row.map_err(|source| self.unreadable(source))?;
                self.restore
                    .row(shard_id, key, &value)
                    .map_err(|source| self.not_restored(source))?;
                self.rows += 1;
                self.tell();
            }
        }
        Ok(())
    }

    fn read_records(&mut self, log: &CommitLog) -> Result<(), DiskError> {
        for record in log.records(None) {
            let record = record.map_err(|source| self.unreadable(source))?;
            if record.kind != ENTRY {
                return Err(DiskError::UnknownRecord {
                    folder: self.folder.to_owned(),
                    kind: record.kind,
                    shard: record.shard,
                    position: record.position,
                });
            }
            let bytes = record.bytes.len() as u64;
            let applied = self
                .restore
                .record(shard_id(record.shard), Position(record.position), record.bytes)
                .map_err(|source| self.not_restored(source))?;
            self.records += u64::from(applied);
            self.record_bytes += if applied { bytes } else { 0 };
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            let Self { rows, records, .. } = self;
            tracing::info!(rows, records, "reading the disk");
        }
    }

    fn unreadable(&self, source: OpenError) -> DiskError {
        DiskError::Content {
            folder: self.folder.to_owned(),
            source,
        }
    }

    fn not_restored(&self, source: RestoreError) -> DiskError {
        DiskError::Restore {
            folder: self.folder.to_owned(),
            source,
        }
    }
}

/// Shards of a cluster are at most 1,024; a higher number is one that the core does not know either.
fn shard_id(number: u32) -> ShardId {
    ShardId(u16::try_from(number).unwrap_or(u16::MAX))
}
