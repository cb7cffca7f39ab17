//! Power cuts and kills at every moment of a log's life, over thousands of seeds.
//!
//! A life is drawn from a seed: appends of several shards, segments that are full, releases, restarts. It is run on a
//! simulated disk whose power goes off before some operation. Then the disk is what survives, and the log is opened
//! again: nothing that was completed may be missing, everything is in its order, nothing was changed, and no damage may
//! be reported. The planted mistakes have to break this.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::seeds;
use crate::{
    commit_log::{
        CommitLog, LogOptions, Record,
        testing::{append, keep, read_record},
    },
    directory::DataDirectory,
    disk::{Random, SimulatedDisk},
    error::OpenError,
    planted::{Fault, plant},
};

pub(super) fn options(segment_bytes: u64) -> LogOptions {
    LogOptions {
        segment_bytes,
        reserve_bytes: 0,
        queue_bytes: 1 << 20,
        queue_records: 1 << 12,
        frame_bytes: 3_000,
        spare_segments: 1,
        entropy: 42,
    }
}

pub(super) fn open(disk: &SimulatedDisk, options: &LogOptions) -> Result<CommitLog, OpenError> {
    let directory = DataDirectory::open(Arc::new(disk.clone()), [1; 16], "cluster")?;
    CommitLog::open(&directory, options.clone())
}

fn record(random: &mut Random, shard: u32, position: u64) -> Record {
    let length = if random.below(8) == 0 {
        random.below(2_500)
    } else {
        random.below(80)
    };
    let fill = u8::try_from(random.below(256)).unwrap();
    Record {
        shard,
        position,
        kind: fill,
        bytes: Bytes::from(vec![fill; length]),
    }
}

/// What the callers of a log know.
#[derive(Debug, Default)]
struct Known {
    /// Everything that was handed over, in order.
    appended: Vec<Record>,
    /// How many of these were reported as durable.
    completed: usize,
    /// Positions that a checkpoint is said to cover.
    covered: BTreeMap<u32, u64>,
    next: BTreeMap<u32, u64>,
}

impl Known {
    /// Whether what the log has now is what it must have. Goes on from there.
    fn check(&mut self, found: &[Record]) -> Result<(), String> {
        let first = found.first();
        let start = match first {
            Some(first) => {
                let at = self.appended.iter().position(|record| record == first);
                at.ok_or_else(|| format!("{}/{} was never appended so", first.shard, first.position))?
            }
            None => self.appended.len().min(self.completed),
        };
        let expected = self.appended.get(start..start + found.len());
        if expected != Some(found) {
            return Err("the records are not those that were appended, in their order".to_owned());
        }
        if start + found.len() < self.completed {
            let missing = &self.appended[start + found.len()];
            return Err(format!(
                "{}/{} was completed and is missing",
                missing.shard, missing.position
            ));
        }
        let is_covered = |record: &Record| self.covered.get(&record.shard) >= Some(&record.position);
        if let Some(missing) = self.appended[..start.min(self.completed)]
            .iter()
            .find(|record| !is_covered(record))
        {
            return Err(format!(
                "{}/{} was not covered and is gone",
                missing.shard, missing.position
            ));
        }
        // What was not completed and did not survive never was.
        self.appended.truncate(start + found.len());
        self.completed = self.appended.len();
        Ok(())
    }
}

/// Appends until the power goes off, or for a while.
fn live(disk: &SimulatedDisk, options: &LogOptions, known: &mut Known, random: &mut Random) -> Result<(), String> {
    let mut log = match open(disk, options) {
        Ok(log) => log,
        Err(OpenError::Io { .. }) => return Ok(()), // the power went off
        Err(error) => return Err(format!("not opened: {error}")),
    };
    let found: Result<Vec<Record>, OpenError> = log.records(None).collect();
    let found = found.map_err(|error| format!("not read: {error}"))?;
    known.check(&found)?;
    for record in found.iter().take(5) {
        let again = read_record(&log, record.shard, record.position).map_err(|error| error.to_string())?;
        if again.as_ref() != Some(record) {
            return Err(format!(
                "{}/{} is not found by its position",
                record.shard, record.position
            ));
        }
    }
    for _ in 0..random.below(30) {
        if random.below(10) == 0 && known.completed > 0 {
            let through = random.below(known.completed);
            for record in &known.appended[..through] {
                let covered = known.covered.entry(record.shard).or_default();
                *covered = record.position.max(*covered);
            }
            if keep(&log, &known.covered).is_err() {
                return Ok(());
            }
        }
        let mut pending = VecDeque::new();
        for _ in 0..1 + random.below(6) {
            let shard = u32::try_from(random.below(3)).unwrap();
            let position = known.next.entry(shard).or_insert(1);
            *position += 1 + random.next() % 3;
            pending.push_back(record(random, shard, *position));
        }
        known.appended.extend(pending.iter().cloned());
        while !pending.is_empty() {
            match append(&mut log, &mut pending) {
                Some((records, _)) => known.completed += records,
                None => return Ok(()), // the power went off
            }
        }
    }
    Ok(())
}

/// Several lives on one disk, with a cut or a kill between them.
fn run(seed: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let options = options(4_096 + 512 * random.below(20) as u64);
    let mut disk = SimulatedDisk::new(1 << 22);
    let mut known = Known::default();
    for life in 0..4 {
        if random.below(4) > 0 {
            disk.power_off_at(disk.operations() + random.next() % 60);
        }
        live(&disk, &options, &mut known, &mut random).map_err(|what| format!("life {life}: {what}"))?;
        disk = match random.below(3) {
            0 => disk.process_killed(),
            _ => disk.power_cut(random.next()),
        };
    }
    live(&disk, &options, &mut known, &mut random).map_err(|what| format!("the last life: {what}"))
}

#[test]
fn nothing_completed_is_missing_after_any_cut() {
    for seed in seeds(3_000) {
        if let Err(what) = run(seed) {
            panic!("{what}; FRESHET_SEED={seed} runs it again");
        }
    }
}

/// The first seed that a mistake breaks.
fn found_at(fault: Fault) -> Option<(u64, String)> {
    plant(Some(fault));
    let found = (0..3_000).find_map(|seed| run(seed).err().map(|what| (seed, what)));
    plant(None);
    found
}

#[test]
fn completing_before_the_flush_is_found() {
    let (seed, what) = found_at(Fault::CompletedBeforeFlush).unwrap();
    println!("seed {seed}: {what}");
}

#[test]
fn a_mark_that_is_written_too_early_is_found() {
    let (seed, what) = found_at(Fault::MarkWrittenTooEarly).unwrap();
    assert!(what.contains("damaged"), "seed {seed}: {what}");
}

#[test]
fn a_segment_without_a_durable_name_is_found() {
    let (seed, what) = found_at(Fault::SegmentNameNotFlushed).unwrap();
    println!("seed {seed}: {what}");
}

#[test]
fn trusting_what_a_killed_process_left_in_memory_is_found() {
    let (seed, what) = found_at(Fault::FoundTailNotFlushed).unwrap();
    println!("seed {seed}: {what}");
}

#[test]
fn trusting_names_that_a_killed_process_left_in_memory_is_found() {
    let (seed, what) = found_at(Fault::FoundNamesNotFlushed).unwrap();
    println!("seed {seed}: {what}");
}
