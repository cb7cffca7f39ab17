//! The disk below the brokers: what a flush takes by itself, what a folder takes, and how to forget what was read.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use freshet_bench_load::Percentiles;

const FLUSHES: usize = 2_000;
const NO_LONGER_THAN: Duration = Duration::from_secs(1);
const PAGE_BYTES: usize = 4_096;
const PAGES: usize = 1_024;
/// Unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// How long 4 KiB over bytes that are there, and a flush of them, take: as many as a second has, at most 2,000.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn raw_flushes(path: &Path) -> anyhow::Result<Percentiles> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; PAGES * PAGE_BYTES], 0)?;
    file.sync_all()?;
    let until = Instant::now() + NO_LONGER_THAN;
    let mut times = Vec::new();
    for flush in 0..FLUSHES {
        let began = Instant::now();
        file.write_all_at(&[1; PAGE_BYTES], u64::try_from(flush % PAGES * PAGE_BYTES)?)?;
        file.sync_data()?;
        times.push(began.elapsed());
        if Instant::now() > until {
            break;
        }
    }
    fs::remove_file(path)?;
    Ok(Percentiles::of_times(&times))
}

/// Bytes that the files of a folder take on the disk.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        bytes += match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&path)?,
            Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
            // A file that went away meanwhile takes nothing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(bytes)
}

/// Writes out what the kernel holds of files, and lets it forget that. Says whether it did: only root may.
pub(crate) fn drop_page_caches() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}
