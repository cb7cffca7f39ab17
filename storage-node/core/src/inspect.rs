//! What people are shown of a node: plain values that can be written and read back.
//!
//! [`crate::StorageCore`]'s `inspect_…` make them. Client ids and topics are in them, payloads never. Each answer looks at a
//! bounded number of things and holds a bounded number, however many there are: lists come in pages, counts end at a bound
//! that the answer names. Times are as of the answer; what is counted in the log's time stands still while the node is
//! down.

use serde::{Deserialize, Serialize};

/// Entries of one list within a session.
pub const MOST_ENTRIES: usize = 1_000;
/// Sessions of one page.
pub const MOST_SESSIONS: usize = 1_000;
/// Messages, or readers, that are counted one by one.
pub const MOST_COUNTED: usize = 16_384;

/// Text of a client id or a topic; they are UTF-8.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A 64-bit number that grows beyond what readers of JSON keep exactly: written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Wide(pub u64);

impl From<Wide> for String {
    fn from(wide: Wide) -> Self {
        wide.0.to_string()
    }
}

impl TryFrom<String> for Wide {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// All shards of a node, and the proxies whose lease holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardsView {
    /// Term of this life of the node.
    pub term: Wide,
    /// In the order in which their slots were taken.
    pub proxies: Vec<ProxyView>,
    /// In order of shards.
    pub shards: Vec<ShardView>,
}

/// A proxy whose lease holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyView {
    /// Name of its pod.
    pub name: String,
    /// This life of it, hexadecimal.
    pub incarnation: String,
    /// Its streams are open.
    pub linked: bool,
    /// What its lease has left unless it is renewed.
    pub lease_ms: u64,
}

/// Where a shard's log stands. What is proposed waits for the disk, what is flushed acts as soon as it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PositionsView {
    /// The last entry that was handed to the log.
    pub proposed: Wide,
    /// The last one that is safe; none: the node has no disk.
    pub flushed: Option<Wide>,
    /// The last one that acts.
    pub applied: Wide,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardView {
    /// The shard.
    pub shard: u16,
    /// Where its log stands.
    pub positions: PositionsView,
    /// Proxies that it knows.
    pub proxies: u64,
    /// Clients that are connected.
    pub connected: u64,
    /// Sessions that outlive their connection.
    pub stored: u64,
    /// Of these, without connection.
    pub offline: u64,
    /// Bytes charged for sessions.
    pub session_bytes: u64,
    /// Queues of durable filters.
    pub queues: u64,
    /// Queues of shared subscriptions.
    pub groups: u64,
    /// Messages that some queue names.
    pub queued_messages: u64,
    /// Bytes charged for them.
    pub queued_bytes: u64,
    /// The one that came first.
    pub oldest_queued: Option<OldestView>,
    /// Retained messages.
    pub retained_messages: u64,
    /// Bytes charged for them.
    pub retained_bytes: u64,
    /// Wills that wait for their delay or grace.
    pub wills_waiting: u64,
    /// Publications without outcome.
    pub publications_waiting: u64,
    /// Publications held after a start or for want of room.
    pub publications_held: u64,
}

/// A queued message, by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OldestView {
    /// Where it stands in its shard's log.
    pub position: Wide,
    /// Since it came.
    pub age_ms: u64,
}

/// A page of the sessions that outlive their connection, in order of client ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionsView {
    /// The page.
    pub sessions: Vec<SessionSummary>,
    /// Client id behind which the next page begins; none: there is no more.
    pub next: Option<String>,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSummary {
    /// Client Identifier.
    pub client_id: String,
    /// The shard it lives at.
    pub shard: u16,
    /// Proxy that has its connection; none: it is offline.
    pub proxy: Option<String>,
    /// When it ends unless it is attached; none: it does not.
    pub ends_in_ms: Option<u64>,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Exchanges towards the client that storage knows and that are not finished.
    pub outbound: u64,
    /// Bytes charged for it, without what is queued.
    pub bytes: u64,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Client Identifier.
    pub client_id: String,
    /// The shard it lives at.
    pub shard: u16,
    /// Its connection; none: it is offline.
    pub connection: Option<ConnectionView>,
    /// What outlives its connection; none: nothing does.
    pub stored: Option<StoredView>,
    /// Its will.
    pub will: Option<WillView>,
}

/// The connection of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionView {
    /// Proxy that has it.
    pub proxy: String,
    /// That life of the proxy, hexadecimal.
    pub incarnation: String,
    /// The streams of that proxy are open.
    pub linked: bool,
    /// Epoch of the connection, as `term.count`.
    pub epoch: String,
    /// Session Expiry Interval, seconds; 4294967295: never.
    pub expiry_interval_s: u32,
    /// Proxy that waits to take it over.
    pub taken_over_by: Option<String>,
}

/// What of a session outlives its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredView {
    /// Epoch at which the session began, as `term.count`.
    pub generation: String,
    /// Epoch of the connection that has it, or had it last.
    pub epoch: String,
    /// Session Expiry Interval, seconds; 4294967295: never.
    pub expiry_interval_s: u32,
    /// When it ends unless it is attached; none: it is connected, or never ends.
    pub ends_in_ms: Option<u64>,
    /// Bytes charged for it, without what is queued.
    pub bytes: u64,
    /// In order of filters, cut at [`MOST_ENTRIES`].
    pub subscriptions: Vec<SubscriptionView>,
    /// All of them.
    pub subscriptions_total: u64,
    /// How far it has come, in order of shards.
    pub cursors: Vec<CursorView>,
    /// What is behind its cursors.
    pub queued: QueuedView,
    /// Exchanges towards the client that storage knows, in the order in which they began; cut.
    pub outbound: Vec<OutboundView>,
    /// All of them.
    pub outbound_total: u64,
    /// QoS 2 publications of the client that it has not released; cut.
    pub inbound: Vec<InboundView>,
    /// All of them.
    pub inbound_total: u64,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// Topic Filter.
    pub topic_filter: String,
    /// Granted QoS.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling, 0 to 2.
    pub retain_handling: u8,
    /// Subscription Identifier.
    pub subscription_identifier: Option<u32>,
    /// Shards at which it is queued for; none of a subscription that was never granted QoS 1 or 2.
    pub shards: Vec<u16>,
    /// Messages that are queued: of the session behind its cursor, of a shared subscription for all members together.
    pub queued: u64,
}

/// What a session has done with at a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CursorView {
    /// The shard of the messages.
    pub shard: u16,
    /// Everything up to here is done.
    pub acknowledged: Wide,
    /// Messages behind it that are done too.
    pub beyond: u64,
    /// Where that shard stands.
    pub applied: Wide,
}

/// What is queued for a session, each message once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuedView {
    /// Messages that it has not done with, those that are in flight included.
    pub messages: u64,
    /// Bytes charged for them.
    pub bytes: u64,
    /// There is more: counting ended at [`MOST_COUNTED`].
    pub at_least: bool,
    /// Since the oldest of them came.
    pub oldest_age_ms: Option<u64>,
}

/// An exchange towards the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundView {
    /// Packet Identifier.
    pub packet_id: u16,
    /// 1 or 2.
    pub qos: u8,
    /// What the client has not sent yet.
    pub waits_for: WaitsFor,
    /// Shard of the message.
    pub shard: u16,
    /// The message; 0: the session itself keeps it, a retained one.
    pub position: Wide,
    /// The shared subscription it came by.
    pub shared: Option<String>,
}

/// What the next step of an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WaitsFor {
    /// QoS 1.
    Puback,
    /// QoS 2.
    Pubrec,
    /// QoS 2 towards the client, second half.
    Pubcomp,
    /// QoS 2 from the client, second half.
    Pubrel,
}

/// A QoS 2 publication of the client that may come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundView {
    /// Packet Identifier.
    pub packet_id: u16,
    /// What the client has not sent yet.
    pub waits_for: WaitsFor,
    /// Shard of its topic.
    pub shard: u16,
    /// Where it stands there.
    pub position: Wide,
}

/// A will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WillView {
    /// Topic Name.
    pub topic_name: String,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// Will Delay Interval, seconds; of a will that waits not known any more.
    pub delay_interval_s: Option<u32>,
    /// When it is published unless the client comes back; none: its connection is there.
    pub due_in_ms: Option<u64>,
}

/// The queues of a topic filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuesView {
    /// Topic Filter; of a shared subscription as its queues are called.
    pub topic_filter: String,
    /// In order of shards.
    pub queues: Vec<QueueView>,
    /// Shard at which the next page begins; none: there is no more.
    pub next: Option<u16>,
}

/// A queue at a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueView {
    /// Shard of the messages.
    pub shard: u16,
    /// Shard of the sessions that it is for; none: it is a shared subscription's.
    pub session_shard: Option<u16>,
    /// Messages.
    pub messages: u64,
    /// Bytes charged for them.
    pub bytes: u64,
    /// The first of them.
    pub oldest: Option<OldestView>,
    /// Sessions that have the filter, connected or not; of a shared subscription members that are connected.
    pub readers: u64,
    /// There are more: counting ended at [`MOST_COUNTED`].
    pub readers_at_least: bool,
    /// How far the last of the sessions has come. What is below goes in time.
    pub least_acknowledged: Option<Wide>,
    /// Of a shared subscription.
    pub group: Option<GroupView>,
}

/// Who has what of a shared subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Proxies with members.
    pub proxies: u64,
    /// Messages that proxies have and have not settled.
    pub leased: u64,
    /// Messages that came back and wait for another member.
    pub returned: u64,
    /// Messages that the windows of its members take together.
    pub window: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_number_is_written_to_the_last_digit() {
        let text = String::from(Wide(u64::MAX));
        assert_eq!(text, "18446744073709551615");
        assert_eq!(Wide::try_from(text), Ok(Wide(u64::MAX)));
        assert!(Wide::try_from("-1".to_owned()).is_err());
    }
}
