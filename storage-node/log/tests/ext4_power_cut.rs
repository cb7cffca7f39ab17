//! Power cuts on a real file system: ext4 on a loop device is shut down under load, at a random instant and without
//! its journal being written, and mounted again.
//!
//! What reached the device before that instant is all there is: the kernel's caches are lost, as in a power cut.
//! Needs root, loop devices, `mkfs.ext4` and `python3` (for one ioctl):
//! `cargo test --release -p freshet-storage-log --test ext4_power_cut -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use freshet_storage_log::{
    Class, CommitLog, DataDirectory, Disk, LogHandle, LogOptions, RealDisk, Record, RefusedBecause, RowOptions,
    RowStore,
};

const CUTS: u64 = 20;
const IMAGE_BYTES: u64 = 512 << 20;
const DEADLINE: Duration = Duration::from_secs(60);
const SHARD: u32 = 3;
const ROWS: u64 = 50;
/// `EXT4_IOC_SHUTDOWN` without a flush of the journal.
const SHUT_DOWN: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
";

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// An image with ext4, and where it is mounted.
struct Image {
    folder: PathBuf,
    mounted: bool,
}

impl Image {
    fn new() -> Self {
        let folder = env::temp_dir().join(format!("freshet-ext4-power-cut-{}", process::id()));
        fs::create_dir_all(folder.join("mount")).unwrap();
        let image = fs::File::create(folder.join("image")).unwrap();
        image.set_len(IMAGE_BYTES).unwrap();
        run("mkfs.ext4", &["-q", &folder.join("image").to_string_lossy()]);
        Self { folder, mounted: false }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("mount")
    }

    fn mount(&mut self) {
        let image = self.folder.join("image");
        run(
            "mount",
            &["-o", "loop", &image.to_string_lossy(), &self.path().to_string_lossy()],
        );
        self.mounted = true;
    }

    /// From here on nothing reaches the device.
    fn cut_power(&self) {
        run("python3", &["-c", SHUT_DOWN, &self.path().to_string_lossy()]);
    }

    fn unmount(&mut self) {
        run("umount", &[&self.path().to_string_lossy()]);
        self.mounted = false;
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.path()).status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The record at a position; its bytes follow from it.
fn record(position: u64) -> Record {
    let length = usize::try_from(position % 700).unwrap();
    Record {
        shard: SHARD,
        position,
        kind: 1,
        bytes: Bytes::from(vec![u8::try_from(position % 251).unwrap(); length]),
    }
}

/// What was reported as durable, and the position of the last checkpoint that was committed.
#[derive(Debug, Default)]
struct Known {
    durable: AtomicU64,
    committed: AtomicU64,
}

/// Opens everything and checks it. Returns the last position as well.
fn open(path: &Path, known: &Known) -> (RowStore, CommitLog, u64) {
    let disk = Arc::new(RealDisk::open(path).unwrap());
    let options = LogOptions {
        segment_bytes: 1 << 20,
        reserve_bytes: 0,
        ..LogOptions::for_volume(disk.space().unwrap(), 77)
    };
    let directory = DataDirectory::open(disk, [4; 16], "cluster").unwrap();
    let store = RowStore::open(&directory, RowOptions::default()).unwrap();
    let applied = store.applied().first().map_or(0, |(_, position)| *position);
    assert!(
        applied >= known.committed.load(SeqCst),
        "a committed checkpoint is there"
    );
    for row in store.rows(SHARD).unwrap() {
        let (key, value) = row.unwrap();
        assert_eq!(value, applied.to_le_bytes()[..], "rows are of one checkpoint: {key:?}");
    }
    let log = CommitLog::open(&directory, options).unwrap();
    let mut last = None;
    for found in log.records(None) {
        let found = found.unwrap();
        let expected = last.map_or(found.position, |last| last + 1);
        assert_eq!(found, record(expected));
        assert!(
            last.is_some() || found.position <= applied + 1,
            "only what a checkpoint has was released"
        );
        last = Some(found.position);
    }
    let last = last.unwrap_or(0).max(applied);
    assert!(last >= known.durable.load(SeqCst), "all that was reported is there");
    (store, log, last)
}

/// Appends until the log takes nothing any more.
fn append(handle: &LogHandle, mut next: u64, room: &Receiver<()>) {
    loop {
        let records = (next..next + 20).map(record).collect();
        match handle.append(records, Class::Control) {
            Ok(()) => next += 20,
            Err(refused) if refused.reason == RefusedBecause::QueueFull => {
                if room.recv_timeout(DEADLINE).is_err() {
                    return; // the writer has ended
                }
            }
            Err(_) => return,
        }
    }
}

/// Takes checkpoints, each of which changes all rows, until the disk fails.
fn take_checkpoints(store: &mut RowStore, handle: &LogHandle, known: &Known) {
    loop {
        let position = known.durable.load(SeqCst);
        let mut checkpoint = store.checkpoint();
        for row in 0..ROWS {
            let value = Bytes::copy_from_slice(&position.to_le_bytes());
            if checkpoint
                .put(SHARD, Bytes::from(format!("row {row}")), Some(value))
                .is_err()
            {
                return;
            }
        }
        if checkpoint.commit(&[(SHARD, position)]).is_err() {
            return;
        }
        drop(checkpoint);
        known.committed.store(position, SeqCst);
        handle.release(&[(SHARD, position)]);
        if store.merge_if_needed().is_err() {
            return;
        }
    }
}

#[test]
#[ignore = "needs root, loop devices, mkfs.ext4 and python3"]
fn nothing_that_was_reported_is_missing_after_ext4_is_cut_off() {
    let mut image = Image::new();
    let known = Arc::new(Known::default());
    for cut in 1..=CUTS {
        image.mount();
        let (mut store, log, last) = open(&image.path(), &known);
        let (room_made, room) = channel();
        let (reported, reports) = channel();
        let (failed, failure) = channel();
        let news = known.clone();
        let on_durable = move |durable: freshet_storage_log::Durable| {
            for (_, position) in durable.positions {
                news.durable.store(position, SeqCst);
                let _ = reported.send(position); // nobody waits any more
            }
            let _ = room_made.send(()); // as above
        };
        let handle = log.start(on_durable, move |error| drop(failed.send(error))).unwrap();
        let appender = thread::spawn({
            let handle = handle.clone();
            move || append(&handle, last + 1, &room)
        });
        let checkpointer = thread::spawn({
            let (handle, known) = (handle.clone(), known.clone());
            move || take_checkpoints(&mut store, &handle, &known)
        });
        // At another place in each round: while segments are filled, and at their changes.
        let target = last + 1 + cut * 2_971 % 9_000;
        while reports.recv_timeout(DEADLINE).unwrap() < target {}
        image.cut_power();
        failure.recv_timeout(DEADLINE).unwrap();
        appender.join().unwrap();
        checkpointer.join().unwrap();
        handle.stop();
        drop(handle);
        image.unmount();
        let (durable, committed) = (known.durable.load(SeqCst), known.committed.load(SeqCst));
        println!("cut {cut}: durable through {durable}, checkpoint at {committed}");
    }
    image.mount();
    let (store, log, last) = open(&image.path(), &known);
    println!("in the end: {last} positions after {CUTS} cuts");
    drop((store, log));
    image.unmount();
}
