//! What people see of a session.

use freshet_storage_core::inspect::{
    ConnectionView, InboundView, OutboundView, SessionView, StoredView, SubscriptionView, WaitsFor, WillView,
};

use super::super::table::{Table, bytes, duration, or_dash, plain};
use super::at_least;

/// A Session Expiry Interval that never passes (MQTT 5.0, 3.1.2.11.2).
const NEVER_S: u32 = u32::MAX;

pub(crate) fn session(view: &SessionView) -> String {
    let mut facts = Table::new(["", ""]);
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    fact("Client id:", view.client_id.clone());
    fact("Shard:", view.shard.to_string());
    let offline = || "none: it is offline".to_owned();
    fact("Connection:", view.connection.as_ref().map_or_else(offline, connection));
    match &view.stored {
        None => fact(
            "Session:",
            "ends with its connection: storage keeps nothing of it".to_owned(),
        ),
        Some(stored) => {
            fact("Session:", lifetime(stored));
            fact("Queued:", queued(stored));
            fact(
                "In flight:",
                format!(
                    "{} to the client, {} from it",
                    stored.outbound_total, stored.inbound_total
                ),
            );
        }
    }
    fact("Will:", or_dash(view.will.as_ref().map(will)));
    let mut out = facts.finish().trim_start_matches('\n').to_owned();
    if let Some(stored) = &view.stored {
        out += &subscriptions(stored);
        out += &cursors(stored);
        out += &in_flight(stored);
    }
    out
}

fn connection(view: &ConnectionView) -> String {
    let streams = if view.linked { "" } else { ", whose streams are lost" };
    let by = view.taken_over_by.as_ref();
    let taken_over = by.map_or_else(String::new, |by| format!("; being taken over by one at {by}"));
    format!("at {}{streams}, epoch {}{taken_over}", view.proxy, view.epoch)
}

fn lifetime(stored: &StoredView) -> String {
    let StoredView { generation, epoch, .. } = stored;
    let interval = match stored.expiry_interval_s {
        NEVER_S => "never expires".to_owned(),
        seconds => format!("expires {} after its connection", duration(u64::from(seconds) * 1_000)),
    };
    let ends = stored
        .ends_in_ms
        .map(|ends_in_ms| format!(", in {}", duration(ends_in_ms)));
    let (ends, charged) = (ends.unwrap_or_default(), bytes(stored.bytes));
    format!("began at epoch {generation}, now at {epoch}; {interval}{ends}; {charged}")
}

fn queued(stored: &StoredView) -> String {
    let queued = &stored.queued;
    let messages = at_least(queued.messages, queued.at_least);
    let oldest = queued
        .oldest_age_ms
        .map(|age_ms| format!(", the oldest {} old", duration(age_ms)));
    format!(
        "{messages} messages, {}{}",
        bytes(queued.bytes),
        oldest.unwrap_or_default()
    )
}

fn will(view: &WillView) -> String {
    let retain = if view.retain { ", RETAIN" } else { "" };
    let when = match (view.due_in_ms, view.delay_interval_s) {
        (Some(due_in_ms), _) => format!("published in {} unless the client comes back", duration(due_in_ms)),
        (None, Some(delay_s)) => format!("delay {}", duration(u64::from(delay_s) * 1_000)),
        (None, None) => "no delay known".to_owned(),
    };
    let (topic, qos, payload) = (&view.topic_name, view.qos, bytes(view.payload_bytes));
    format!("{topic}, QoS {qos}{retain}, {payload}; {when}")
}

fn subscriptions(stored: &StoredView) -> String {
    let mut table = Table::new(["SUBSCRIPTION", "QOS>", "OPTIONS", "SHARDS", "QUEUED>"]);
    for subscription in &stored.subscriptions {
        table.row([
            subscription.topic_filter.clone(),
            subscription.qos.to_string(),
            options(subscription),
            shards(&subscription.shards),
            subscription.queued.to_string(),
        ]);
    }
    section(&table.finish(), stored.subscriptions.len(), stored.subscriptions_total)
}

fn options(subscription: &SubscriptionView) -> String {
    let identifier = subscription.subscription_identifier.map(|id| format!("id={id}"));
    let options: Vec<_> = [
        subscription.no_local.then(|| "no-local".to_owned()),
        subscription
            .retain_as_published
            .then(|| "retain-as-published".to_owned()),
        (subscription.retain_handling > 0).then(|| format!("retain-handling={}", subscription.retain_handling)),
        identifier,
    ]
    .into_iter()
    .flatten()
    .collect();
    or_dash((!options.is_empty()).then(|| options.join(",")))
}

fn shards(shards: &[u16]) -> String {
    match shards {
        [] => "-".to_owned(),
        [first, .., last] if shards.len() > 4 => format!("{first}..{last}"),
        few => few.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
    }
}

fn cursors(stored: &StoredView) -> String {
    let mut table = Table::new(["SHARD>", "ACKNOWLEDGED>", "BEYOND>", "SHARD STANDS AT>"]);
    for cursor in &stored.cursors {
        table.row([
            cursor.shard.to_string(),
            cursor.acknowledged.0.to_string(),
            cursor.beyond.to_string(),
            cursor.applied.0.to_string(),
        ]);
    }
    section(&table.finish(), stored.cursors.len(), stored.cursors.len() as u64)
}

fn in_flight(stored: &StoredView) -> String {
    let mut table = Table::new([
        "IN FLIGHT",
        "PACKET ID>",
        "QOS>",
        "WAITS FOR",
        "SHARD>",
        "POSITION>",
        "SHARED",
    ]);
    for OutboundView {
        packet_id,
        qos,
        waits_for,
        shard,
        position,
        shared,
    } in &stored.outbound
    {
        table.row([
            "to the client".to_owned(),
            packet_id.to_string(),
            qos.to_string(),
            word(*waits_for).to_owned(),
            shard.to_string(),
            position.0.to_string(),
            or_dash(shared.as_deref().map(plain)),
        ]);
    }
    for InboundView {
        packet_id,
        waits_for,
        shard,
        position,
    } in &stored.inbound
    {
        table.row([
            "from the client".to_owned(),
            packet_id.to_string(),
            "2".to_owned(),
            word(*waits_for).to_owned(),
            shard.to_string(),
            position.0.to_string(),
            "-".to_owned(),
        ]);
    }
    let shown = stored.outbound.len() + stored.inbound.len();
    section(&table.finish(), shown, stored.outbound_total + stored.inbound_total)
}

fn word(waits_for: WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Puback => "PUBACK",
        WaitsFor::Pubrec => "PUBREC",
        WaitsFor::Pubcomp => "PUBCOMP",
        WaitsFor::Pubrel => "PUBREL",
    }
}

/// A table below the others; none without rows.
fn section(table: &str, shown: usize, total: u64) -> String {
    match total.saturating_sub(shown as u64) {
        _ if shown == 0 => String::new(),
        0 => format!("\n{table}"),
        more => format!("\n{table}and {more} more\n"),
    }
}
