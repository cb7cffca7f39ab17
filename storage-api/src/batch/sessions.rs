//! What stored sessions, and what is asked about them, are charged with on a stream: never less than on the wire.

use bytes::Bytes;
use freshet_storage_contract::{
    Cursor, ExactlyOnce, FetchedMessage, Message, OutboundExchange, PulledMessage, SessionChange, StoredSession,
    StoredSubscription,
};

use super::OVERHEAD_BYTES;

/// A start of a subscription: a shard and a position.
const START_BYTES: usize = 24;
/// A position in a list of them.
const POSITION_BYTES: usize = 8;
/// A filter id takes up to five bytes.
pub(super) const FILTER_ID_BYTES: usize = 5;

/// A message on its way in, with the exchange it is known by.
pub(super) fn message_bytes(message: &Message) -> usize {
    message.charged_bytes() + message.exactly_once.as_deref().map_or(0, exchange_bytes)
}

pub(super) fn exchange_bytes(of: &ExactlyOnce) -> usize {
    OVERHEAD_BYTES + of.client_id.len()
}

fn outbound_bytes(exchange: &OutboundExchange) -> usize {
    OVERHEAD_BYTES + taken_bytes(exchange.shared.as_ref(), exchange.message.as_deref())
}

/// What an exchange names beside its place.
fn taken_bytes(shared: Option<&Bytes>, message: Option<&Message>) -> usize {
    shared.map_or(0, Bytes::len) + message.map_or(0, |message| OVERHEAD_BYTES + message_bytes(message))
}

pub(super) fn stored_bytes(session: &StoredSession) -> usize {
    OVERHEAD_BYTES
        + session.subscriptions.iter().map(subscription_bytes).sum::<usize>()
        + session.cursors.iter().map(cursor_bytes).sum::<usize>()
        + session.outbound.iter().map(outbound_bytes).sum::<usize>()
}

pub(super) fn session_change_bytes(change: &SessionChange) -> usize {
    match change {
        SessionChange::Subscribe(subscription) => OVERHEAD_BYTES + subscription_bytes(subscription),
        SessionChange::Unsubscribe { topic_filter } => OVERHEAD_BYTES + topic_filter.len(),
        SessionChange::Advance(cursor) => OVERHEAD_BYTES + cursor_bytes(cursor),
        SessionChange::Sending { shared, message, .. } => {
            OVERHEAD_BYTES + taken_bytes(shared.as_ref(), message.as_deref())
        }
        SessionChange::Received { .. } | SessionChange::Completed { .. } => OVERHEAD_BYTES,
    }
}

fn subscription_bytes(subscription: &StoredSubscription) -> usize {
    OVERHEAD_BYTES + subscription.topic_filter.len() + subscription.starts.len() * START_BYTES
}

fn cursor_bytes(cursor: &Cursor) -> usize {
    OVERHEAD_BYTES + cursor.beyond.len() * POSITION_BYTES
}

pub(super) fn positions_bytes(count: usize) -> usize {
    count * POSITION_BYTES
}

pub(super) fn pulled_bytes(messages: &[PulledMessage]) -> usize {
    let one = |m: &PulledMessage| OVERHEAD_BYTES + m.message.charged_bytes() + m.filter_ids.len() * FILTER_ID_BYTES;
    messages.iter().map(one).sum()
}

pub(super) fn fetched_bytes(messages: &[FetchedMessage]) -> usize {
    messages
        .iter()
        .map(|m| OVERHEAD_BYTES + m.message.charged_bytes())
        .sum()
}
