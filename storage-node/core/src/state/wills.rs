//! Wills whose connection has ended and that wait: for their delay interval (MQTT 5.0, 3.1.3.2.2), or because the
//! server itself ended the connection. One per client id.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshet_storage_contract::{Message, SessionEpoch};

use super::rows::Changes;

/// A will that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WillRow {
    pub(crate) message: Message,
    /// The connection that left it.
    pub(crate) epoch: SessionEpoch,
    /// When it is published, ms of log time.
    pub(crate) due_ms: u64,
    pub(crate) on_return: OnReturn,
}

/// What becomes of a will when its client attaches before it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnReturn {
    /// It is dropped: the server had ended the connection.
    Drop,
    /// It is dropped if the session goes on (`[MQTT-3.1.3-9]`), and published if Clean Start ends it.
    DropUnlessCleanStart,
}

/// The wills of a shard that wait.
#[derive(Debug, Default)]
pub(crate) struct Wills {
    by_client: BTreeMap<Bytes, WillRow>,
    by_due: BTreeSet<(u64, Bytes)>,
    bytes: u64,
    changes: Changes<Bytes>,
}

impl Wills {
    pub(crate) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Bytes charged for the wills.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn get(&self, client_id: &[u8]) -> Option<&WillRow> {
        self.by_client.get(client_id)
    }

    /// Lets a will wait; it takes the place of an earlier one of its client.
    pub(super) fn hold(&mut self, client_id: &Bytes, row: WillRow) {
        self.take(client_id);
        self.changes.add(client_id.clone());
        self.insert(client_id.clone(), row);
    }

    fn insert(&mut self, client_id: Bytes, row: WillRow) {
        self.bytes += charged_bytes(&client_id, &row);
        self.by_due.insert((row.due_ms, client_id.clone()));
        self.by_client.insert(client_id, row);
    }

    pub(super) fn take(&mut self, client_id: &Bytes) -> Option<WillRow> {
        let row = self.by_client.remove(client_id)?;
        self.changes.remove(client_id.clone());
        self.by_due.remove(&(row.due_ms, client_id.clone()));
        self.bytes -= charged_bytes(client_id, &row);
        Some(row)
    }

    /// When wills are due, ms of log time, and whose they are, the first one first.
    pub(crate) fn by_due(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.by_due.iter().map(|(due_ms, client_id)| (*due_ms, client_id))
    }
}

fn charged_bytes(client_id: &Bytes, row: &WillRow) -> u64 {
    (client_id.len() + row.message.charged_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::message;

    fn row(due_ms: u64) -> WillRow {
        WillRow {
            message: message("w", "x"),
            epoch: SessionEpoch::default(),
            due_ms,
            on_return: OnReturn::Drop,
        }
    }

    #[test]
    fn wills_come_due_in_order_and_one_replaces_an_earlier_one() {
        let mut wills = Wills::default();
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        wills.hold(&a, row(30));
        wills.hold(&b, row(20));
        wills.hold(&a, row(10));
        assert_eq!(wills.by_due().next(), Some((10, &a)));
        assert_eq!(wills.len(), 2);
        wills.take(&a);
        assert_eq!(wills.by_due().next(), Some((20, &b)));
        wills.take(&b);
        assert_eq!((wills.len(), wills.bytes(), wills.by_due().next()), (0, 0, None));
    }
}
