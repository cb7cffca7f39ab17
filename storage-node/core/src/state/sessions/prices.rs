//! What changes will add to what a session is charged with, at most: said before they are proposed, for the bounds.
//!
//! Leaves out what they do add when they are applied: that is counted by the row, the readers and the notes themselves.

use std::iter::Sum;

use freshet_storage_contract::{SessionChange, StoredSession, StoredSubscription};

use super::readers::Readers;
use super::row::{ENTRY_BYTES, NUMBER_BYTES, SUBSCRIPTION_OVERHEAD_BYTES, SessionRow, exchange_bytes, taken_bytes};
use crate::state::notes::Note;
use crate::state::queues::{group_name, is_group};

/// What is added to a session, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SessionCost {
    /// To its row.
    pub(crate) row: u64,
    /// To the readers of filters, and in notes to other shards.
    pub(crate) beside: u64,
}

impl SessionCost {
    pub(crate) const fn of_row(row: u64) -> Self {
        Self { row, beside: 0 }
    }

    pub(crate) const fn whole(self) -> u64 {
        self.row + self.beside
    }
}

impl Sum for SessionCost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |sum, cost| Self {
            row: sum.row + cost.row,
            beside: sum.beside + cost.beside,
        })
    }
}

/// What a change adds to a session, at most. What is in `row` is not added again.
pub(super) fn cost_of(change: &SessionChange, row: Option<&SessionRow>) -> SessionCost {
    match change {
        SessionChange::Subscribe(subscription) => cost_of_subscription(subscription, row),
        SessionChange::Advance(cursor) => SessionCost::of_row(ENTRY_BYTES + cursor.beyond.len() as u64 * NUMBER_BYTES),
        SessionChange::Sending { shared, message, .. } => {
            let taken = ENTRY_BYTES + taken_bytes(shared.as_ref(), message.as_deref());
            match shared.as_ref().and_then(group_name) {
                Some(group) => SessionCost {
                    row: taken + ENTRY_BYTES,
                    beside: Note::cost_of(&group),
                },
                None => SessionCost::of_row(taken),
            }
        }
        // What was kept for it goes, and the note that says so costs more.
        SessionChange::Received { .. } => SessionCost {
            row: 0,
            beside: Note::cost_of(&[]),
        },
        SessionChange::Unsubscribe { .. } | SessionChange::Completed { .. } => SessionCost::default(),
    }
}

/// As if nobody else read the filter.
fn cost_of_subscription(subscription: &StoredSubscription, row: Option<&SessionRow>) -> SessionCost {
    let filter = &subscription.topic_filter;
    let known = row.and_then(|row| row.stored.subscriptions.get(row.place_of(filter).ok()?));
    let is_known = |shard| known.is_some_and(|known| known.starts.iter().any(|start| start.shard == shard));
    let has_cursor = |shard| is_group(filter) || row.is_some_and(|row| row.cursor(shard).is_some());
    let new = subscription.starts.iter().filter(|start| !is_known(start.shard));
    let begun = SessionCost::of_row(match known {
        Some(_) => 0,
        None => filter.len() as u64 + SUBSCRIPTION_OVERHEAD_BYTES,
    });
    let starts = new.map(|start| SessionCost {
        row: ENTRY_BYTES * (1 + u64::from(!has_cursor(start.shard))),
        beside: Readers::cost_of(filter),
    });
    starts.chain([begun]).sum()
}

/// What a session that a proxy has kept is charged with beside its client id, at most.
pub(super) fn cost_of_stored(session: &StoredSession) -> SessionCost {
    let beyond: usize = session.cursors.iter().map(|c| c.beyond.len()).sum();
    let entries = session.cursors.len() + session.outbound.len();
    let exchanges = session.outbound.iter().map(exchange_bytes).sum::<u64>();
    let row = exchanges + entries as u64 * ENTRY_BYTES + beyond as u64 * NUMBER_BYTES;
    let subscriptions = session.subscriptions.iter();
    subscriptions
        .map(|subscription| cost_of_subscription(subscription, None))
        .chain([SessionCost::of_row(row)])
        .sum()
}
