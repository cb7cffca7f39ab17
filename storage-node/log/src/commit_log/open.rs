//! Reads the log that is there: where it ends, what of it is torn, and whether anything durable is damaged.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use tracing::{info, warn};

use super::{
    Durable, LogHandle, LogMark, LogOptions, Records,
    appender::{AppendError, Appender, AppenderOptions, begin_segment},
    recovery::{Scanned, scan},
    segment::{HEADER_BYTES, Segment, make_spare, number_in, segment_name, spare_name},
    segment_index::SegmentIndex,
    segments::{Indexed, Segments},
    writer,
};
use crate::{
    directory::DataDirectory,
    disk::Disk,
    error::{FatalError, OpenError},
    fault_points::reach,
    planted::planted,
};

/// Smaller segments have no room for records.
const MIN_SEGMENT_BYTES: u64 = 4 << 10;
/// A start reads a segment at once.
const MAX_SEGMENT_BYTES: u64 = 64 << 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a flush that had been begun when the process or the power went. Nobody was told that it was there.
    pub torn_bytes: u64,
    /// The last position of each shard that has records.
    pub last: Vec<(u32, u64)>,
    /// Where the log ends; all before it is durable.
    pub end: LogMark,
    /// Segments that were read.
    pub segments: u64,
}

/// A log that was read, and is not written yet.
#[derive(Debug)]
pub struct CommitLog {
    pub(super) directory: DataDirectory,
    pub(super) options: LogOptions,
    pub(super) segments: Arc<Segments>,
    pub(super) appender: Appender,
    recovery: Recovery,
}

impl CommitLog {
    /// Reads the log of a directory, which begins empty. What it says to be there is durable when this returns, also
    /// when a killed process had left it in memory alone.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] names the first bad byte of what had been durable, [`OpenError::Format`], and what the
    /// disk says.
    pub fn open(directory: &DataDirectory, mut options: LogOptions) -> Result<Self, OpenError> {
        options.segment_bytes = options.segment_bytes.clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let disk = &*directory.disk;
        let names = disk.list().map_err(|error| OpenError::io(".", 0, error))?;
        let sequences: Vec<u64> = names.iter().filter_map(|name| number_in(name, "log-")).collect();
        let (mut segments, torn_bytes) = read_segments(directory, &sequences)?;
        let (mut spares, mut next_spare) = find_spares(disk, &names, &options)?;
        if segments.is_empty() {
            segments.push_back(first_segment(directory, &options, spares.pop(), &mut next_spare)?);
        } else if torn_bytes > 0 {
            warn!(
                torn_bytes,
                "the log ends in a flush that was not finished: nobody was told of it, and it is cut"
            );
        }
        let mut last = BTreeMap::new();
        for (shard, position) in segments.iter().flat_map(|indexed| indexed.index.last()) {
            last.insert(shard, position);
        }
        let count = segments.len() as u64;
        // The first segment is made above when there is none.
        let Some(newest) = segments.back() else {
            return Err(OpenError::damaged(&segment_name(1), 0, "a first segment"));
        };
        let (current, end) = (newest.segment.clone(), newest.end);
        if !planted!(FoundTailNotFlushed) {
            let flushed = current.file.sync_data();
            flushed.map_err(|error| OpenError::io(&current.name, end, error))?;
        }
        let segments = Arc::new(Segments::new(segments, spares, next_spare));
        let appender_options = AppenderOptions {
            segment_bytes: options.segment_bytes,
            max_frame_bytes: options.frame_bytes,
            entropy: options.entropy,
        };
        let mut appender = Appender::new(directory.clone(), segments.clone(), appender_options, current, end);
        appender.append_mark().map_err(|error| match error {
            AppendError::Full(error) => OpenError::io(".", 0, error),
            AppendError::Fatal(FatalError { file, source, .. }) => OpenError::io(&file, end, source),
        })?;
        reach("log_opened");
        let recovery = Recovery {
            torn_bytes,
            last: last.into_iter().collect(),
            end: appender.mark(),
            segments: count,
        };
        info!(
            segments = count,
            torn_bytes,
            segment = recovery.end.segment,
            "the log was read"
        );
        Ok(Self {
            directory: directory.clone(),
            options,
            segments,
            appender,
            recovery,
        })
    }

    /// What was found.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The records from a mark on, or all, in the order in which they were appended. What a checkpoint covers comes as
    /// well as long as its segment is there.
    #[must_use]
    pub fn records(&self, from: Option<LogMark>) -> Records {
        Records::new(self.segments.from(from.unwrap_or_default()))
    }

    /// Begins to write, on a thread of its own. `on_durable` is called there after each flush, with flushes waiting
    /// meanwhile: it hands the news on and returns. `on_fatal` is called at most once, when a write or a flush has
    /// failed; nothing is reported as durable after that, and a program ends ([`super::abort_process`]).
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(
        self,
        on_durable: impl FnMut(Durable) + Send + 'static,
        on_fatal: impl FnOnce(FatalError) + Send + 'static,
    ) -> io::Result<LogHandle> {
        writer::start(self, Box::new(on_durable), Box::new(on_fatal))
    }
}

/// Reads all segments, and checks that nothing durable is missing.
fn read_segments(directory: &DataDirectory, sequences: &[u64]) -> Result<(VecDeque<Indexed>, u64), OpenError> {
    let mut segments = VecDeque::new();
    let mut scans: Vec<(Segment, Scanned)> = Vec::new();
    let mut buffer = Vec::new();
    for (before, sequence) in [None].into_iter().chain(sequences.iter().map(Some)).zip(sequences) {
        if let Some(before) = before
            && before + 1 != *sequence
        {
            return Err(OpenError::damaged(&segment_name(before + 1), 0, "a segment of the log"));
        }
        let segment = Segment::open(&*directory.disk, *sequence, directory.node_uuid())?;
        let scanned = scan(&segment, &mut buffer)?;
        scans.push((segment, scanned));
    }
    let durable_ends = durable_ends(&scans);
    let mut torn_bytes = 0;
    for (segment, scanned) in scans {
        let sequence = segment.header.sequence;
        if durable_ends
            .get(&sequence)
            .is_some_and(|durable| scanned.end < *durable)
        {
            let what = "a record that had been durable";
            return Err(OpenError::damaged(&segment.name, scanned.first_bad, what));
        }
        // What was torn before a later segment began was reported then.
        torn_bytes = scanned.torn_bytes;
        segments.push_back(Indexed {
            segment,
            end: scanned.end,
            index: scanned.index,
        });
    }
    Ok((segments, torn_bytes))
}

/// The highest end of each segment that anything names as durable.
fn durable_ends(scans: &[(Segment, Scanned)]) -> BTreeMap<u64, u64> {
    let mut ends = BTreeMap::new();
    for (segment, scanned) in scans {
        for mark in [segment.header.durable, scanned.durable] {
            let end: &mut u64 = ends.entry(mark.segment).or_default();
            *end = mark.offset.max(*end);
        }
    }
    ends
}

/// Files that are ready for the log, and the highest number among them. Those of another size go.
fn find_spares(disk: &dyn Disk, names: &[String], options: &LogOptions) -> Result<(Vec<String>, u64), OpenError> {
    let mut spares = Vec::new();
    let mut highest = 0;
    for name in names {
        let Some(number) = number_in(name, "spare-") else {
            continue;
        };
        highest = highest.max(number);
        let io = |error| OpenError::io(name, 0, error);
        let is_fit = disk.open(name).and_then(|file| file.size()).map_err(io)? == options.segment_bytes;
        if is_fit && spares.len() < options.spare_segments {
            spares.push(name.clone());
        } else {
            disk.remove(name).map_err(io)?;
        }
    }
    Ok((spares, highest))
}

fn first_segment(
    directory: &DataDirectory,
    options: &LogOptions,
    spare: Option<String>,
    next_spare: &mut u64,
) -> Result<Indexed, OpenError> {
    let spare = match spare {
        Some(spare) => spare,
        None => {
            *next_spare += 1;
            let name = spare_name(*next_spare);
            let made = make_spare(&*directory.disk, &name, options.segment_bytes);
            made.map_err(|error| OpenError::io(&name, 0, error))?;
            name
        }
    };
    let begun = begin_segment(
        directory,
        &spare,
        LogMark::default(),
        options.segment_bytes,
        options.entropy,
    );
    Ok(Indexed {
        segment: begun.map_err(|FatalError { file, source, .. }| OpenError::io(&file, 0, source))?,
        end: HEADER_BYTES,
        index: SegmentIndex::default(),
    })
}
