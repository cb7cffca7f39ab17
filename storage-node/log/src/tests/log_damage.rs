//! What had been durable and is not as it was is named; what nobody was told of is cut.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::log_cuts::{open, options};
use crate::{
    LogMark, Record,
    commit_log::{CommitLog, testing::append},
    directory::DataDirectory,
    disk::{Disk, SimulatedDisk},
    error::OpenError,
};

fn record(position: u64) -> Record {
    Record {
        shard: 1,
        position,
        kind: 0,
        bytes: Bytes::from(vec![7; 100]),
    }
}

/// A log with `flushes` flushes of two records each, and the disk it is on.
fn written(flushes: u64) -> (SimulatedDisk, Vec<LogMark>) {
    let disk = SimulatedDisk::new(1 << 20);
    let mut log = open(&disk, &options(4_096)).unwrap();
    let mut marks = Vec::new();
    for flush in 0..flushes {
        let mut pending: VecDeque<Record> = [record(2 * flush + 1), record(2 * flush + 2)].into();
        marks.push(append(&mut log, &mut pending).unwrap().1);
    }
    (disk, marks)
}

fn positions(log: &CommitLog) -> Vec<u64> {
    log.records(None).map(|record| record.unwrap().position).collect()
}

fn reopen(disk: &SimulatedDisk) -> Result<CommitLog, OpenError> {
    open(disk, &options(4_096))
}

#[test]
fn every_wrong_bit_below_the_last_mark_is_damage_at_its_place() {
    let (disk, marks) = written(8);
    let start = marks[0].offset - 288;
    let end = marks[6].offset;
    for offset in (start..end).step_by(3) {
        disk.rot("log-0000000000000001", offset, 0x10);
        // What fills up to the next frame means nothing.
        match reopen(&disk) {
            Err(OpenError::Damaged { file, offset: at, .. }) => {
                assert_eq!(file, "log-0000000000000001");
                assert!(at <= offset && offset < at + 288, "{offset} is reported at {at}");
            }
            other => panic!("{offset}: {other:?}"),
        }
        disk.rot("log-0000000000000001", offset, 0x10);
    }
    assert_eq!(positions(&reopen(&disk).unwrap()).len(), 16);
}

#[test]
fn the_last_flush_of_an_orderly_stop_is_damage_as_well() {
    let (disk, marks) = written(2);
    drop(reopen(&disk).unwrap()); // a start writes a mark behind it
    disk.rot("log-0000000000000001", marks[1].offset - 20, 1);
    assert!(matches!(reopen(&disk), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_torn_tail_is_cut_and_counted_and_the_log_goes_on_there() {
    let (disk, marks) = written(3);
    disk.rot("log-0000000000000001", marks[2].offset - 20, 1);
    let mut log = reopen(&disk).unwrap();
    assert_eq!(positions(&log), [1, 2, 3, 4]);
    assert_eq!(log.recovery().torn_bytes, marks[2].offset - marks[1].offset);
    assert_eq!(log.recovery().last, [(1, 4)]);
    append(&mut log, &mut [record(9)].into()).unwrap();
    let log = reopen(&disk.power_cut(3)).unwrap();
    assert_eq!(positions(&log), [1, 2, 3, 4, 9]);
    assert_eq!(log.recovery().torn_bytes, 0);
}

#[test]
fn a_record_is_read_from_a_mark_on() {
    let (disk, marks) = written(40);
    let log = reopen(&disk).unwrap();
    assert!(log.recovery().segments > 1);
    for (flush, mark) in marks.iter().enumerate().step_by(7) {
        let rest: Vec<u64> = log
            .records(Some(*mark))
            .map(|record| record.unwrap().position)
            .collect();
        let expected: Vec<u64> = (2 * flush as u64 + 3..=80).collect();
        assert_eq!(rest, expected);
    }
}

#[test]
fn a_segment_that_is_missing_or_cannot_be_read_is_named() {
    let (disk, _) = written(40);
    let killed = disk.process_killed();
    killed.make_unreadable("log-0000000000000002", 700);
    let error = reopen(&killed).unwrap_err().to_string();
    assert!(error.contains("log-0000000000000002 cannot be read"), "{error}");
    disk.remove("log-0000000000000002").unwrap();
    let error = reopen(&disk).unwrap_err().to_string();
    assert!(error.contains("log-0000000000000002 is damaged"), "{error}");
}

#[test]
fn a_log_of_another_format_is_refused() {
    let (disk, _) = written(1);
    let directory = DataDirectory::open(Arc::new(disk.clone()), [1; 16], "cluster").unwrap();
    let file = disk.open("log-0000000000000001").unwrap();
    let mut front = *b"FRSHclog\x02\0\0\0....";
    let crc = crc32c::crc32c(&front[..12]).to_le_bytes();
    front[12..].copy_from_slice(&crc);
    file.write_at(0, &front).unwrap();
    let error = CommitLog::open(&directory, options(4_096)).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Format {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
}
