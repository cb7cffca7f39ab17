//! What the disk holds and costs.

use std::fmt;

use freshet_storage_log::{FLUSH_BUCKETS_SECONDS, LogStats};
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use super::Writer;
use crate::disk::DiskStats;

/// Writes the figures of a disk.
pub(super) fn encode(disk: &DiskStats, out: &mut Writer<'_>) -> fmt::Result {
    let DiskStats {
        log,
        rows,
        read_bytes,
        read_kept_bytes,
        is_full,
    } = disk;
    out.gauge(
        "disk_free_bytes",
        "Bytes that can be written before the disk is full",
        log.free_bytes,
    )?;
    out.gauge(
        "disk_reserve_bytes",
        "Of these, bytes that messages may not use",
        log.reserve_bytes,
    )?;
    out.gauge(
        "disk_is_full",
        "1 while only the reserve is left: messages to be stored are held or refused",
        u64::from(*is_full),
    )?;
    out.gauge("log_bytes", "Bytes of the log's segments", log.segment_bytes)?;
    out.gauge("log_segments", "Segments of the log", log.segments)?;
    out.gauge(
        "log_waiting_records",
        "Records that wait for the disk",
        log.queue_records,
    )?;
    out.gauge("log_waiting_bytes", "Bytes of these", log.queue_bytes)?;
    out.gauge(
        "log_torn_bytes",
        "Bytes of an unfinished flush that the start has cut",
        log.torn_bytes,
    )?;
    out.counter("log_records", "Records made durable", log.records)?;
    out.counter("log_written_bytes", "Bytes written to the log", log.written_bytes)?;
    flushes(out, log)?;
    out.gauge(
        "checkpoint_bytes",
        "Bytes of the state's rows on disk",
        rows.base_bytes + rows.delta_bytes,
    )?;
    out.gauge(
        "checkpoint_rows",
        "Rows on disk, older ones of the same key included",
        rows.base_rows + rows.delta_rows,
    )?;
    out.counter("checkpoints", "Checkpoints of the state", rows.checkpoints)?;
    out.counter(
        "checkpoint_written_bytes",
        "Bytes written by checkpoints and by merging them",
        rows.bytes_written + rows.merged_bytes,
    )?;
    out.counter(
        "checkpoint_read_bytes",
        "Bytes read from checkpoints for those who read what is queued",
        *read_bytes,
    )?;
    out.gauge(
        "checkpoint_read_kept_bytes",
        "Bytes of blocks of checkpoints that are kept in memory for the next who read what is queued",
        *read_kept_bytes,
    )
}

/// Write and flush together: what an acknowledgement waits for.
fn flushes(out: &mut Writer<'_>, log: &LogStats) -> fmt::Result {
    let bounds = FLUSH_BUCKETS_SECONDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(log.flush_buckets).collect();
    let help = "Duration of writing and flushing what waited";
    let mut metric = out
        .encoder
        .encode_descriptor("log_flush_seconds", help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(log.flush_time.as_secs_f64(), log.flushes, &buckets, None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use freshet_storage_log::RowStats;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Encoded(DiskStats);

    impl Collector for Encoded {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            encode(&self.0, &mut Writer { encoder })
        }
    }

    #[test]
    fn flushes_are_a_histogram_whose_last_bucket_has_no_bound() {
        let mut flush_buckets = [0; FLUSH_BUCKETS_SECONDS.len() + 1];
        flush_buckets[0] = 3;
        flush_buckets[FLUSH_BUCKETS_SECONDS.len()] = 1;
        let log = LogStats {
            segments: 2,
            segment_bytes: 128,
            spare_segments: 0,
            flushes: 4,
            flush_buckets,
            flush_time: Duration::from_secs(7),
            records: 9,
            record_bytes: 90,
            written_bytes: 120,
            torn_bytes: 0,
            queue_records: 0,
            queue_bytes: 0,
            refused_disk_full: 0,
            refused_queue_full: 0,
            free_bytes: 1,
            reserve_bytes: 1,
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Encoded(DiskStats {
            log,
            rows: RowStats::default(),
            read_bytes: 0,
            read_kept_bytes: 0,
            is_full: true,
        })));
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        for line in [
            "log_flush_seconds_bucket{le=\"0.0001\"} 3",
            "log_flush_seconds_bucket{le=\"5.0\"} 3",
            "log_flush_seconds_bucket{le=\"+Inf\"} 4",
            "log_flush_seconds_count 4",
            "disk_is_full 1",
            "log_records_total 9",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
