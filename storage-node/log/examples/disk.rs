//! Measures what a disk makes of the log and of checkpoints: `cargo run --release -p freshet-storage-log --example disk
//! -- DIRECTORY [ROWS]`. The directory is made, and everything in it is removed at the end.
//!
//! Figures are of this machine at this moment; the raw flush beside them says what the disk itself takes.

use std::{
    env,
    error::Error,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process,
    sync::{Arc, mpsc::channel},
    time::{Duration, Instant},
};

use bytes::Bytes;
use freshet_storage_log::{Class, CommitLog, DataDirectory, Disk, LogOptions, RealDisk, Record, RowOptions, RowStore};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RAW_FLUSHES: usize = 2_000;
const RECORD_BYTES: usize = 128;
const CHECKPOINTS: u64 = 10;
const SHARDS: u32 = 8;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let Some(path) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: disk DIRECTORY [ROWS]");
        process::exit(2);
    };
    let rows: u64 = arguments.next().map_or(Ok(1_000_000), |rows| rows.parse())?;
    fs::create_dir(&path)?;
    let measured = measure(&path, rows);
    fs::remove_dir_all(&path)?;
    measured
}

fn measure(path: &Path, rows: u64) -> Result<()> {
    measure_raw_flushes(&path.join("raw"))?;
    for (window, records) in [(1, 2_000), (100, 200_000), (2_000, 1_000_000)] {
        measure_log(&path.join(format!("log-{window}")), window, records)?;
    }
    measure_rows(&path.join("rows"), rows)
}

/// The disk by itself: 4 KiB over bytes that are there, and a flush.
fn measure_raw_flushes(path: &Path) -> Result<()> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; 4 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for flush in 0..RAW_FLUSHES {
        let began = Instant::now();
        file.write_all_at(&[1; 4_096], (flush % 1_024 * 4_096) as u64)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    println!("raw 4 KiB write and fdatasync: {}", quantiles(&mut times));
    Ok(())
}

fn open(path: &Path) -> Result<(DataDirectory, LogOptions)> {
    let disk = Arc::new(RealDisk::open(path)?);
    let options = LogOptions::for_volume(disk.space()?, 1);
    Ok((DataDirectory::open(disk, [1; 16], "measurement")?, options))
}

/// `window` records are on their way at any time; each that is durable makes room for the next.
fn measure_log(path: &Path, window: u64, records: u64) -> Result<()> {
    let (directory, options) = open(path)?;
    let (news, durable) = channel();
    let log = CommitLog::open(&directory, options)?;
    let handle = log.start(
        move |durable| drop(news.send(durable)),
        freshet_storage_log::abort_process,
    )?;
    let record = |position| Record {
        shard: 0,
        position,
        kind: 0,
        bytes: Bytes::from_static(&[7; RECORD_BYTES]),
    };
    let began = Instant::now();
    let (mut sent, mut done) = (0, 0);
    let mut waits = Vec::new();
    while done < records {
        let more = (window - (sent - done)).min(records - sent);
        let turn = Instant::now();
        handle.append((sent + 1..=sent + more).map(record).collect(), Class::Control)?;
        sent += more;
        let news = durable.recv()?;
        waits.push(turn.elapsed());
        done = news.positions.first().map_or(done, |(_, position)| *position);
    }
    let took = began.elapsed();
    handle.stop();
    let stats = handle.stats();
    println!(
        "log, {window} records of {RECORD_BYTES} bytes on their way: {:.0} records/s, {:.0} flushes/s, a turn {}",
        records as f64 / took.as_secs_f64(),
        stats.flushes as f64 / took.as_secs_f64(),
        quantiles(&mut waits),
    );
    drop(handle);
    drop(directory);
    let (directory, options) = open(path)?;
    let began = Instant::now();
    let log = CommitLog::open(&directory, options)?;
    let found = log.records(None).count() as u64;
    assert_eq!(found, records, "records after a restart");
    println!("    restart: {found} records read twice in {:.0?}", began.elapsed());
    Ok(())
}

/// Rows of a typical offline session: a key of 24 bytes, a value of 100.
fn measure_rows(path: &Path, rows: u64) -> Result<()> {
    let (directory, _) = open(path)?;
    let mut store = RowStore::open(&directory, RowOptions::default())?;
    let (mut writing, mut merging) = (Duration::ZERO, Duration::ZERO);
    for round in 0..CHECKPOINTS {
        let began = Instant::now();
        let mut checkpoint = store.checkpoint();
        for row in (round..rows).step_by(usize::try_from(CHECKPOINTS)?) {
            // Spread over the keys, as client ids are.
            let number = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let shard = u32::try_from(number % u64::from(SHARDS))?;
            let key = Bytes::from(format!("session-{number:016x}"));
            checkpoint.put(shard, key, Some(Bytes::from_static(&[9; 100])))?;
        }
        checkpoint.commit(&[(0, round)])?;
        drop(checkpoint);
        writing += began.elapsed();
        let began = Instant::now();
        store.merge_if_needed()?;
        merging += began.elapsed();
    }
    let stats = store.stats();
    println!(
        "rows: {rows} in {CHECKPOINTS} checkpoints: {:.0} rows/s written, {} merges in {merging:.0?}, {} MiB",
        rows as f64 / writing.as_secs_f64(),
        stats.merges,
        (stats.base_bytes + stats.delta_bytes) >> 20,
    );
    drop(store);
    let began = Instant::now();
    let store = RowStore::open(&directory, RowOptions::default())?;
    let mut found = 0_u64;
    for shard in 0..SHARDS {
        for row in store.rows(shard)? {
            row?;
            found += 1;
        }
    }
    let took = began.elapsed();
    assert_eq!(found, rows, "rows after a restart");
    println!(
        "    restart: {found} rows in {took:.0?}, {:.0} rows/s",
        found as f64 / took.as_secs_f64()
    );
    Ok(())
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 1_000).min(times.len() - 1));
    let [median, p99, p999] = [500, 990, 999].map(|part| at(part).copied().unwrap_or_default());
    format!("P50 {median:.0?}, P99 {p99:.0?}, P99.9 {p999:.0?}")
}
