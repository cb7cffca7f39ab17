//! What people see of each answer.

mod session;

use freshet_storage_core::inspect::{PositionsView, QueuesView, SessionsView, ShardsView};
use freshet_storage_node::LogView;

pub(super) use self::session::session;
use super::table::{Table, bytes, duration, or_dash, plain};

pub(super) fn shards(view: &ShardsView) -> String {
    let mut shards = Table::new([
        "SHARD>",
        "APPLIED>",
        "UNFLUSHED>",
        "CONNECTED>",
        "STORED>",
        "OFFLINE>",
        "QUEUES>",
        "SHARED>",
        "QUEUED>",
        "BYTES>",
        "OLDEST>",
        "RETAINED>",
        "WAITING>",
        "HELD>",
    ]);
    for shard in &view.shards {
        shards.row([
            shard.shard.to_string(),
            shard.positions.applied.0.to_string(),
            unflushed(&shard.positions),
            shard.connected.to_string(),
            shard.stored.to_string(),
            shard.offline.to_string(),
            shard.queues.to_string(),
            shard.groups.to_string(),
            shard.queued_messages.to_string(),
            bytes(shard.queued_bytes),
            or_dash(shard.oldest_queued.as_ref().map(|oldest| duration(oldest.age_ms))),
            shard.retained_messages.to_string(),
            shard.publications_waiting.to_string(),
            shard.publications_held.to_string(),
        ]);
    }
    let mut proxies = Table::new(["PROXY", "INCARNATION", "STREAMS", "LEASE>"]);
    for proxy in &view.proxies {
        proxies.row([
            proxy.name.clone(),
            proxy.incarnation.clone(),
            if proxy.linked { "open" } else { "lost" }.to_owned(),
            duration(proxy.lease_ms),
        ]);
    }
    format!("Term {}\n\n{}\n{}", view.term.0, shards.finish(), proxies.finish())
}

/// Entries that wait for the disk.
fn unflushed(positions: &PositionsView) -> String {
    let flushed = positions
        .flushed
        .map(|flushed| positions.proposed.0.saturating_sub(flushed.0));
    or_dash(flushed.map(|entries| entries.to_string()))
}

pub(super) fn sessions(view: &SessionsView) -> String {
    if view.sessions.is_empty() {
        return "No session that outlives its connection. One that ends with it is shown by `freshet admin session`.\n"
            .to_owned();
    }
    let mut table = Table::new([
        "CLIENT ID",
        "SHARD>",
        "PROXY",
        "ENDS IN>",
        "SUBSCRIPTIONS>",
        "IN FLIGHT>",
        "BYTES>",
    ]);
    for session in &view.sessions {
        table.row([
            session.client_id.clone(),
            session.shard.to_string(),
            session.proxy.clone().unwrap_or_else(|| "offline".to_owned()),
            or_dash(session.ends_in_ms.map(duration)),
            session.subscriptions.to_string(),
            session.outbound.to_string(),
            bytes(session.bytes),
        ]);
    }
    let mut out = table.finish();
    if let Some(next) = &view.next {
        out.push_str(&format!(
            "\nThere are more: --after {:?}, or a higher --limit.\n",
            plain(next)
        ));
    }
    out
}

pub(super) fn queues(view: &QueuesView) -> String {
    let mut table = Table::new([
        "SHARD>",
        "FOR",
        "MESSAGES>",
        "BYTES>",
        "OLDEST>",
        "READERS>",
        "LAST READER AT>",
        "LEASED>",
        "RETURNED>",
        "WINDOW>",
    ]);
    for queue in &view.queues {
        let of_group = |of: fn(&freshet_storage_core::inspect::GroupView) -> u64| {
            or_dash(queue.group.as_ref().map(|group| of(group).to_string()))
        };
        table.row([
            queue.shard.to_string(),
            queue
                .session_shard
                .map_or_else(|| "its members".to_owned(), |shard| format!("sessions at {shard}")),
            queue.messages.to_string(),
            bytes(queue.bytes),
            or_dash(queue.oldest.as_ref().map(|oldest| duration(oldest.age_ms))),
            at_least(queue.readers, queue.readers_at_least),
            or_dash(queue.least_acknowledged.map(|position| position.0.to_string())),
            of_group(|group| group.leased),
            of_group(|group| group.returned),
            of_group(|group| group.window),
        ]);
    }
    let messages: u64 = view.queues.iter().map(|queue| queue.messages).sum();
    let (filter, queues) = (plain(&view.topic_filter), view.queues.len());
    format!("{filter}: {messages} messages in {queues} queues\n\n{}", table.finish())
}

/// A count that may have ended early.
fn at_least(count: u64, at_least: bool) -> String {
    format!("{count}{}", if at_least { "+" } else { "" })
}

pub(super) fn log(view: &LogView) -> String {
    let checkpoint = &view.checkpoint;
    let mut facts = Table::new(["", ""]);
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    let room = if view.is_full {
        "FULL: only the reserve is left; "
    } else {
        ""
    };
    fact(
        "Disk:",
        format!(
            "{room}{} free, reserve {}",
            bytes(view.free_bytes),
            bytes(view.reserve_bytes)
        ),
    );
    let (segments, spares) = (view.segments, view.spare_segments);
    fact(
        "Log:",
        format!("{segments} segments, {}; {spares} spare", bytes(view.segment_bytes)),
    );
    fact(
        "Waiting:",
        format!("{} records, {}", view.waiting_records, bytes(view.waiting_bytes)),
    );
    fact("Flushes:", format!("{} since the start", view.flushes));
    fact(
        "Torn:",
        format!("{} found and cut by the start", bytes(view.torn_bytes)),
    );
    let age = checkpoint
        .age_ms
        .map(|age_ms| format!("the last one {} ago", duration(age_ms)));
    let running = if checkpoint.is_running {
        ", one is being taken"
    } else {
        ""
    };
    fact(
        "Checkpoints:",
        format!(
            "{} since the start, {}{running}; {} rows, {}",
            checkpoint.count,
            age.unwrap_or_else(|| "none yet".to_owned()),
            checkpoint.rows,
            bytes(checkpoint.bytes)
        ),
    );
    fact(
        "Replay:",
        format!("a start would apply at most {}", bytes(checkpoint.replay_bytes)),
    );
    let mut marks = Table::new(["SHARD>", "PROPOSED>", "UNFLUSHED>", "UNAPPLIED>", "NOT IN CHECKPOINT>"]);
    for shard in &view.shards {
        let positions = &shard.positions;
        let unapplied = positions.proposed.0.saturating_sub(positions.applied.0);
        let behind = shard
            .checkpointed
            .map(|at| positions.applied.0.saturating_sub(at.0).to_string());
        marks.row([
            shard.shard.to_string(),
            positions.proposed.0.to_string(),
            unflushed(positions),
            unapplied.to_string(),
            behind.unwrap_or_else(|| "all".to_owned()),
        ]);
    }
    format!("{}\n{}", facts.finish().trim_start_matches('\n'), marks.finish())
}
