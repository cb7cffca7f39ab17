//! Messages of shared subscriptions that sessions are about to take for themselves (`[MQTT-4.8.2-4]`).
//!
//! Storage has been asked, or is about to be, and has not answered. Until it has, the proxy keeps its part of the group,
//! even without members: with the part its leases would go, and the message to another member, too.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{Operation, SessionChange};

/// Unanswered takings by group. Bounded by what is owed.
#[derive(Debug, Default)]
pub(super) struct Taking {
    // Ordered, not hashed: clients choose these names.
    by_group: BTreeMap<Bytes, usize>,
    /// Groups of which nothing is taken any more.
    ended: Vec<Bytes>,
}

impl Taking {
    /// Storage is asked.
    pub(super) fn begin(&mut self, operation: &Operation) {
        for name in groups_of(operation) {
            *self.by_group.entry(name.clone()).or_default() += 1;
        }
    }

    /// Storage has answered, or is not asked any more.
    pub(super) fn end(&mut self, operation: &Operation) {
        for name in groups_of(operation) {
            let Some(count) = self.by_group.get_mut(name) else {
                continue;
            };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_group.remove(name);
                self.ended.push(name.clone());
            }
        }
    }

    /// Whether something is taken from the group.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.by_group.contains_key(name)
    }

    /// Groups of which nothing is taken any more since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.ended)
    }
}

fn groups_of(operation: &Operation) -> impl Iterator<Item = &Bytes> {
    let changes = match operation {
        Operation::UpdateSession(update) => &update.changes[..],
        _ => &[],
    };
    changes.iter().filter_map(|change| match change {
        SessionChange::Sending { shared, .. } => shared.as_ref(),
        _ => None,
    })
}

/// Takes out what would take a message of a group: the lease that it was given with has ended.
pub(super) fn forget_in(operation: &mut Operation) {
    if let Operation::UpdateSession(update) = operation {
        let takes = |change: &SessionChange| matches!(change, SessionChange::Sending { shared: Some(_), .. });
        update.changes.retain(|change| !takes(change));
    }
}
