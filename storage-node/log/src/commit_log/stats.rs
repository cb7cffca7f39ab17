//! What the log counts, as plain numbers for whoever exports metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the buckets of [`LogStats::flush_buckets`], seconds; what is above is in one more bucket.
pub const FLUSH_BUCKETS_SECONDS: [f64; 14] = [
    0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003_2, 0.006_4, 0.012_5, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// What the log has done and has.
#[derive(Debug, Clone, PartialEq)]
pub struct LogStats {
    /// Segments with records.
    pub segments: u64,
    /// Their bytes on disk.
    pub segment_bytes: u64,
    /// Files that are ready to become segments.
    pub spare_segments: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// Flushes by duration of write and flush; not cumulative.
    pub flush_buckets: [u64; FLUSH_BUCKETS_SECONDS.len() + 1],
    /// Time of all flushes.
    pub flush_time: Duration,
    /// Records that became durable since the start.
    pub records: u64,
    /// The callers' bytes in them.
    pub record_bytes: u64,
    /// Bytes that were written for them.
    pub written_bytes: u64,
    /// Bytes that the start found torn and cut.
    pub torn_bytes: u64,
    /// Records that wait or are being written.
    pub queue_records: u64,
    /// The callers' bytes in them.
    pub queue_bytes: u64,
    /// Calls that were refused because the disk is nearly full.
    pub refused_disk_full: u64,
    /// Calls that were refused because too much waits.
    pub refused_queue_full: u64,
    /// Bytes that can be written before the disk is full.
    pub free_bytes: u64,
    /// Of these, bytes that ordinary records may not use.
    pub reserve_bytes: u64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    flushes: AtomicU64,
    buckets: [AtomicU64; FLUSH_BUCKETS_SECONDS.len() + 1],
    flush_ns: AtomicU64,
    records: AtomicU64,
    record_bytes: AtomicU64,
    written_bytes: AtomicU64,
    pub(super) refused_disk_full: AtomicU64,
    pub(super) refused_queue_full: AtomicU64,
}

impl Counters {
    /// A flush has ended.
    pub(super) fn flushed(&self, took: Duration, records: usize, record_bytes: usize, written_bytes: usize) {
        let seconds = took.as_secs_f64();
        let bucket = FLUSH_BUCKETS_SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.flushes.fetch_add(1, Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.flush_ns.fetch_add(ns, Relaxed);
        self.records.fetch_add(records as u64, Relaxed);
        self.record_bytes.fetch_add(record_bytes as u64, Relaxed);
        self.written_bytes.fetch_add(written_bytes as u64, Relaxed);
    }

    /// The counters; what is not counted here is 0.
    pub(super) fn read(&self) -> LogStats {
        LogStats {
            segments: 0,
            segment_bytes: 0,
            spare_segments: 0,
            flushes: self.flushes.load(Relaxed),
            flush_buckets: self.buckets.each_ref().map(|bucket| bucket.load(Relaxed)),
            flush_time: Duration::from_nanos(self.flush_ns.load(Relaxed)),
            records: self.records.load(Relaxed),
            record_bytes: self.record_bytes.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
            torn_bytes: 0,
            queue_records: 0,
            queue_bytes: 0,
            refused_disk_full: self.refused_disk_full.load(Relaxed),
            refused_queue_full: self.refused_queue_full.load(Relaxed),
            free_bytes: 0,
            reserve_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_falls_into_the_bucket_of_its_duration() {
        let counters = Counters::default();
        counters.flushed(Duration::from_micros(100), 1, 10, 100);
        counters.flushed(Duration::from_micros(101), 2, 20, 100);
        counters.flushed(Duration::from_secs(9), 0, 0, 40);
        let stats = counters.read();
        assert_eq!(
            (stats.flush_buckets[0], stats.flush_buckets[1], stats.flush_buckets[14]),
            (1, 1, 1)
        );
        assert_eq!(
            (stats.flushes, stats.records, stats.record_bytes, stats.written_bytes),
            (3, 3, 30, 240)
        );
        assert_eq!(stats.flush_time, Duration::from_micros(9_000_201));
    }
}
