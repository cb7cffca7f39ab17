//! Gauges and counters of the core, for metrics.

use std::time::Duration;

use freshet_storage_contract::{MonotonicMs, ShardId};

use crate::log::LogClock;

/// A look at a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StorageStats {
    /// Gauge: incarnations whose lease holds.
    pub incarnations: u64,
    /// Gauge: of these, with open streams.
    pub links: u64,
    /// Counter: leases that ran out.
    pub leases_expired_total: u64,
    /// Counter: attaches that were refused.
    pub attaches_refused_total: u64,
    /// Counter: links that the core ended ([`crate::LinkFault`]).
    pub links_ended_total: u64,
    /// Gauge: bytes charged for filters that are registered at every shard.
    pub common_filter_bytes: u64,
    /// Per shard, in order of shards.
    pub shards: Vec<ShardStats>,
}

/// A look at a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStats {
    /// The shard.
    pub shard: ShardId,
    /// What there is now.
    pub gauges: ShardGauges,
    /// What has happened since the start.
    pub counters: ShardCounters,
    /// The message that has been queued for longest.
    pub oldest_queued: Option<QueuedSince>,
}

/// Since when a message is queued, by the time of its shard's log, which stands still while the node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedSince {
    pub(crate) came_ms: u64,
    pub(crate) clock: LogClock,
}

impl QueuedSince {
    /// How old the message is at `now`.
    #[must_use]
    pub fn age(&self, now: MonotonicMs) -> Duration {
        Duration::from_millis(self.clock.log_time_ms(now).saturating_sub(self.came_ms))
    }
}

/// What a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardGauges {
    /// Registrations of filters that live at this shard alone, over all proxies.
    pub filters_one_shard: u64,
    /// Registrations of filters that are registered at every shard, over all proxies.
    pub filters_all_shards: u64,
    /// Bytes charged for registered filters, but for those that are registered at every shard.
    pub interest_bytes: u64,
    /// Clients that are connected.
    pub sessions: u64,
    /// Sessions that outlive their connection, connected or not.
    pub sessions_stored: u64,
    /// Of these, without connection.
    pub sessions_offline: u64,
    /// Bytes charged for client ids, wills and stored sessions.
    pub session_bytes: u64,
    /// Durable filters.
    pub durable_filters: u64,
    /// Shared subscriptions: groups that have members.
    pub shared_groups: u64,
    /// Of these, with members that are connected.
    pub shared_groups_online: u64,
    /// Messages of groups that proxies have and have not settled.
    pub shared_leases: u64,
    /// Messages of groups that stored sessions have taken for themselves.
    pub shared_kept: u64,
    /// Rows of light queues.
    pub queued_rows: u64,
    /// Messages that some light queue names.
    pub queued_messages: u64,
    /// Bytes charged for queued messages, rows, and QoS 2 publications that may be repeated.
    pub queued_bytes: u64,
    /// Of these, bytes of content in memory.
    pub queued_resident_bytes: u64,
    /// QoS 2 publications that may be repeated.
    pub packets: u64,
    /// Wills whose connection has ended and that wait for their delay or grace.
    pub wills_waiting: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// Bytes charged for retained messages.
    pub retained_bytes: u64,
    /// Deliveries that proxies have not acknowledged.
    pub ring_deliveries: u64,
    /// Bytes charged for them.
    pub ring_bytes: u64,
    /// Publications without outcome.
    pub publications_waiting: u64,
    /// Publications held after a start or for want of room.
    pub publications_held: u64,
    /// Bytes of them.
    pub held_bytes: u64,
    /// Clients that wait for their sessions because proxies have not named theirs behind a start.
    pub attaches_held: u64,
    /// Retained reads that wait for room in a ring.
    pub reads_waiting: u64,
}

/// What a shard has done since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardCounters {
    /// Publications taken in, wills included.
    pub publishes_total: u64,
    /// Publications that came again after a broken stream and were not routed again.
    pub publishes_repeated_total: u64,
    /// Copies of messages put into rings.
    pub deliveries_total: u64,
    /// Deliveries sent again after a broken stream.
    pub deliveries_resent_total: u64,
    /// QoS 0 copies shed for want of credit or room.
    pub shed_total: u64,
    /// Rings that became full.
    pub overruns_total: u64,
    /// QoS >= 1 copies lost to full rings; their proxies are told.
    pub overrun_messages_total: u64,
    /// Proxies that named their interest after publications had been routed without it.
    pub interest_late_total: u64,
    /// Sessions that outlive their connection and were named by a proxy, unknown to storage, after publications had been
    /// routed without them: they ended.
    pub sessions_late_total: u64,
    /// Times a proxy fell silent, so that publishers no longer waited for it.
    pub silences_total: u64,
    /// Filters that did not fit into the bound on interest, or were malformed.
    pub filters_refused_total: u64,
    /// Publications with RETAIN, wills included, that a limit refused.
    pub retained_refused_total: u64,
    /// Publications that were refused because the disk was full.
    pub disk_full_refused_total: u64,
    /// Retained messages whose expiry interval passed.
    pub retained_expired_total: u64,
    /// Chunks of retained messages.
    pub retained_reads_total: u64,
    /// Messages put into light queues.
    pub queued_total: u64,
    /// Rows dropped by `limits.session.queuedMessages`.
    pub queue_dropped_count_total: u64,
    /// Rows dropped by `limits.session.queuedBytes`.
    pub queue_dropped_bytes_total: u64,
    /// Rows dropped by `limits.session.queuedAge`.
    pub queue_dropped_age_total: u64,
    /// Rows dropped by `storage.retention.maxAge`.
    pub retention_dropped_age_total: u64,
    /// Rows dropped by `storage.retention.maxBytesPercent`.
    pub retention_dropped_bytes_total: u64,
    /// Rows whose message's expiry interval passed.
    pub queue_expired_total: u64,
    /// Publications held for want of room.
    pub publishes_held_total: u64,
    /// QoS 2 publications that a session repeated.
    pub publishes_known_total: u64,
    /// Chunks of queued messages.
    pub pulls_total: u64,
    /// Messages in them.
    pub pulled_messages_total: u64,
    /// Queued messages that were asked of the disk.
    pub loads_total: u64,
    /// Bytes of rows that came back.
    pub loaded_bytes_total: u64,
    /// Durable filters refused for the bound on filters, or malformed.
    pub durable_filters_refused_total: u64,
    /// Stored sessions that a connection found again.
    pub sessions_resumed_total: u64,
    /// Stored sessions whose expiry interval passed.
    pub sessions_expired_total: u64,
    /// Changes of stored sessions.
    pub session_updates_total: u64,
    /// Of these, refused.
    pub session_updates_refused_total: u64,
    /// Messages of groups given to proxies, each time.
    pub shared_deliveries_total: u64,
    /// Of these, settled for good.
    pub shared_settled_total: u64,
    /// Of these, that came back.
    pub shared_returned_total: u64,
    /// Sessions attached.
    pub attaches_total: u64,
    /// Attaches refused for a limit.
    pub attaches_refused_total: u64,
    /// Attaches refused because a newer connection came.
    pub attaches_superseded_total: u64,
    /// Connections that were taken over.
    pub takeovers_total: u64,
    /// Of these, whose proxy did not confirm in time.
    pub takeovers_unconfirmed_total: u64,
    /// Of these, held because the client id had changed hands too often: clients with one id throw each other out.
    pub takeovers_repeated_total: u64,
    /// Wills published.
    pub wills_published_total: u64,
    /// Wills dropped: by DISCONNECT, or because the client came back.
    pub wills_dropped_total: u64,
}
