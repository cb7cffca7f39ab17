//! The log with its threads: what is reported, what is refused, and how it ends.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::log_cuts::{open, options};
use crate::{
    Class, Durable, FatalError, LogHandle, LogOptions, Record, RefusedBecause,
    disk::{Disk, SimulatedDisk},
};

const DEADLINE: Duration = Duration::from_secs(20);

struct Started {
    handle: LogHandle,
    durable: Receiver<Durable>,
    fatal: Receiver<FatalError>,
}

fn start(disk: &SimulatedDisk, options: &LogOptions) -> Started {
    let (news, durable) = channel();
    let (failure, fatal) = channel();
    let log = open(disk, options).unwrap();
    let on_durable = move |durable| drop(news.send(durable));
    let on_fatal = move |error| drop(failure.send(error));
    Started {
        handle: log.start(on_durable, on_fatal).unwrap(),
        durable,
        fatal,
    }
}

impl Started {
    /// Waits until a shard is durable to a position.
    fn wait_for(&self, shard: u32, position: u64) {
        loop {
            let durable = self.durable.recv_timeout(DEADLINE).unwrap();
            if durable.positions.iter().any(|(of, at)| *of == shard && *at >= position) {
                return;
            }
        }
    }
}

fn record(shard: u32, position: u64, bytes: usize) -> Record {
    Record {
        shard,
        position,
        kind: 3,
        bytes: Bytes::from(vec![5; bytes]),
    }
}

fn append(handle: &LogHandle, records: Vec<Record>) -> Result<(), RefusedBecause> {
    handle
        .append(records, Class::Ordinary)
        .map_err(|refused| refused.reason)
}

#[test]
fn what_is_reported_is_there_after_a_cut_and_can_be_read() {
    let disk = SimulatedDisk::new(1 << 22);
    let log = start(&disk, &options(8_192));
    for position in 1..=200 {
        append(&log.handle, vec![record(1, position, 50), record(2, position * 10, 50)]).unwrap();
    }
    log.wait_for(2, 2_000);
    assert_eq!(log.handle.read(2, 1_500).unwrap(), Some(record(2, 1_500, 50)));
    assert_eq!(log.handle.read(2, 1_501).unwrap(), None);
    let found = open(&disk.power_cut(8), &options(8_192)).unwrap();
    assert_eq!(found.records(None).count(), 400);
    let stats = log.handle.stats();
    assert_eq!(
        (stats.records, stats.record_bytes, stats.queue_records),
        (400, 20_000, 0)
    );
    assert!(stats.segments > 1 && stats.flushes == stats.flush_buckets.iter().sum::<u64>());
}

#[test]
fn stopping_writes_what_was_taken_and_takes_nothing_more() {
    let disk = SimulatedDisk::new(1 << 22);
    let log = start(&disk, &options(8_192));
    append(&log.handle, (1..=100).map(|position| record(1, position, 10)).collect()).unwrap();
    log.handle.stop();
    log.wait_for(1, 100);
    assert_eq!(
        append(&log.handle, vec![record(1, 101, 1)]),
        Err(RefusedBecause::Stopped)
    );
    assert_eq!(
        open(&disk.power_cut(1), &options(8_192)).unwrap().records(None).count(),
        100
    );
}

#[test]
fn a_failed_flush_is_told_once_and_reports_nothing_more() {
    let disk = SimulatedDisk::new(1 << 22);
    let log = start(
        &disk,
        &LogOptions {
            spare_segments: 0,
            ..options(65_536)
        },
    );
    append(&log.handle, vec![record(1, 1, 10)]).unwrap();
    log.wait_for(1, 1);
    disk.fail_flush_after(0);
    append(&log.handle, vec![record(1, 2, 10)]).unwrap();
    let error = log.fatal.recv_timeout(DEADLINE).unwrap();
    assert_eq!(
        (error.file.as_str(), error.action),
        ("log-0000000000000001", "flushing")
    );
    assert_eq!(
        append(&log.handle, vec![record(1, 3, 10)]),
        Err(RefusedBecause::Stopped)
    );
    log.handle.stop();
    assert!(log.durable.try_recv().is_err(), "position 2 was not reported");
    let found = open(&disk.power_cut(1), &options(65_536)).unwrap();
    assert_eq!(found.records(None).count(), 1);
}

#[test]
fn below_the_reserve_only_control_is_taken_until_there_is_room_again() {
    let disk = SimulatedDisk::new(1 << 20);
    let reserve_bytes = 100_000;
    let options = LogOptions {
        reserve_bytes,
        ..options(8_192)
    };
    let log = start(&disk, &options);
    append(&log.handle, vec![record(1, 1, 10)]).unwrap();
    log.wait_for(1, 1);
    disk.set_capacity(disk.used_bytes() + 50_000);
    assert!(append(&log.handle, vec![record(1, 2, 10)]).is_ok() || log.handle.is_full());
    log.handle.append(vec![record(2, 1, 10)], Class::Control).unwrap();
    log.wait_for(2, 1);
    assert_eq!(
        append(&log.handle, vec![record(1, 3, 10)]),
        Err(RefusedBecause::DiskFull)
    );
    log.handle.append(vec![record(2, 2, 10)], Class::Control).unwrap();
    log.wait_for(2, 2);
    assert!(log.handle.is_full() && log.handle.stats().refused_disk_full > 0);
    assert_eq!(log.handle.disk_bytes(), disk.space().unwrap().total_bytes);
    disk.set_capacity(1 << 20);
    append(&log.handle, vec![record(1, 3, 10)]).unwrap();
    assert_eq!(log.handle.disk_bytes(), 1 << 20);
    log.wait_for(1, 3);
}

#[test]
fn a_disk_that_is_full_to_the_last_byte_holds_records_until_a_checkpoint_makes_room() {
    let disk = SimulatedDisk::new(1 << 20);
    let options = LogOptions {
        spare_segments: 0,
        ..options(8_192)
    };
    let log = start(&disk, &options);
    for position in 1..=10 {
        append(&log.handle, vec![record(1, position, 2_000)]).unwrap();
    }
    log.wait_for(1, 10);
    disk.set_capacity(disk.used_bytes());
    for position in 11..=15 {
        append(&log.handle, vec![record(1, position, 2_000)]).unwrap();
    }
    log.handle.release(&[(1, 10)]);
    log.wait_for(1, 15);
    assert!(disk.used_bytes() <= disk.space().unwrap().total_bytes);
}

#[test]
fn released_segments_go_and_their_files_are_used_again() {
    let disk = SimulatedDisk::new(1 << 22);
    let log = start(&disk, &options(8_192));
    let deadline = Instant::now() + DEADLINE;
    let mut last = 0;
    // The clearing is done beside the writer: it is waited for by writing on.
    while last < 300 || log.handle.stats().segments > 4 {
        assert!(Instant::now() < deadline, "{:?}", log.handle.stats());
        last += 1;
        append(&log.handle, vec![record(1, last, 500)]).unwrap();
        log.wait_for(1, last);
        log.handle.release(&[(1, last.saturating_sub(20))]);
    }
    log.handle.stop();
    assert_eq!(log.handle.read(1, 1).unwrap(), None);
    assert!(log.handle.read(1, last - 10).unwrap().is_some());
    let found: Vec<u64> = open(&disk.power_cut(2), &options(8_192))
        .unwrap()
        .records(None)
        .map(|record| record.unwrap().position)
        .collect();
    assert_eq!(found.last(), Some(&last));
    assert!(found[0] <= last - 19 && found.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

#[test]
fn one_flush_takes_what_came_during_the_one_before() {
    let disk = SimulatedDisk::new(1 << 24);
    let gate = Arc::new(Mutex::new(()));
    let (news, durable) = channel();
    let log = open(
        &disk,
        &LogOptions {
            frame_bytes: 1 << 20,
            ..options(1 << 20)
        },
    )
    .unwrap();
    let closed = gate.clone();
    let on_durable = move |durable: Durable| {
        drop(news.send(durable));
        drop(closed.lock());
    };
    let handle = log.start(on_durable, |error| panic!("{error}")).unwrap();
    let held = gate.lock().unwrap();
    append(&handle, vec![record(1, 1, 1)]).unwrap();
    durable.recv_timeout(DEADLINE).unwrap();
    for position in 2..=500 {
        append(&handle, vec![record(1, position, 1)]).unwrap();
    }
    drop(held);
    let next = durable.recv_timeout(DEADLINE).unwrap();
    assert_eq!(next.positions, [(1, 500)]);
    handle.stop();
    assert_eq!(handle.stats().flushes, 2);
}
