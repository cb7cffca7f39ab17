//! Sessions that outlive their connection: subscriptions, cursors, unfinished exchanges, when they expire.
//!
//! One row for a session, one epoch to check, one row to delete. What the shards of messages have to know about it
//! leaves as notes in the same entry ([`readers`]). Leaves out which connection has a session: the registry of the
//! leader (`crate::shard`) knows that, and every change names the epoch of the connection that makes it.

mod inspect;
mod prices;
mod readers;
mod row;
mod rows;
mod table;

use std::collections::BTreeSet;

use bytes::Bytes;
use freshet_storage_contract::{SessionChange, SessionEpoch, ShardId, StoredSession};

pub(crate) use self::inspect::Stored;
pub(crate) use self::prices::SessionCost;
use self::readers::Readers;
pub(crate) use self::readers::Trims;
use self::row::SessionRow;
use self::table::{ClientId, SessionTable};
use super::effects::Effects;
use super::notes::Note;
use super::rows::Changes;
use crate::planted::planted;

/// A Session Expiry Interval that never passes (MQTT 5.0, 3.1.2.11.2).
const NEVER_S: u32 = u32::MAX;
/// How long a session lasts at least that a new leader knows no connection of, seconds: as long as the lease of a proxy
/// that may have it.
const UNNAMED_S: u32 = 6;

/// The stored sessions of a shard.
#[derive(Debug, Default)]
pub(crate) struct StoredSessions {
    rows: SessionTable,
    /// Sessions without connection by the log time at which they end.
    by_end: BTreeSet<(u64, ClientId)>,
    readers: Readers,
    offline: u64,
    bytes: u64,
    changes: Changes<Bytes>,
}

impl StoredSessions {
    /// Stored sessions, connected or not.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Of these, without connection.
    pub(crate) fn offline(&self) -> u64 {
        self.offline
    }

    /// Bytes charged for all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.readers.bytes()
    }

    pub(crate) fn contains(&self, client_id: &[u8]) -> bool {
        self.rows.contains(client_id)
    }

    /// Whether it is stored and without connection.
    pub(crate) fn is_offline(&self, client_id: &[u8]) -> bool {
        self.rows.is_offline(client_id)
    }

    /// Session Expiry Interval of a session that the connection of `epoch` has, or had last, seconds.
    pub(crate) fn interval_of(&self, client_id: &[u8], epoch: SessionEpoch) -> Option<u32> {
        let row = self.rows.get(client_id).filter(|row| row.epoch == epoch)?;
        Some(row.expiry_interval_s)
    }

    /// Whether it is the client's session that began at `generation` that is stored.
    pub(crate) fn knows(&self, client_id: &[u8], generation: SessionEpoch) -> bool {
        let row = self.rows.get(client_id);
        row.is_some_and(|row| row.stored.generation == generation)
    }

    /// Bytes charged for one of them.
    pub(crate) fn bytes_of(&self, client_id: &Bytes) -> u64 {
        self.rows.get(client_id).map_or(0, |row| row.bytes(client_id))
    }

    /// The session of a client as its next connection gets it, when `epoch` is the one that has it and not the one that
    /// began it.
    pub(crate) fn resumed(&self, client_id: &[u8], epoch: SessionEpoch, log_time_ms: u64) -> Option<StoredSession> {
        let row = self.rows.get(client_id).filter(|row| row.epoch == epoch)?;
        (row.stored.generation != epoch).then(|| row.resumed(log_time_ms))
    }

    /// What changes will add to what a session is charged with, at most. `is_settled`: no entry about it is on its way, and
    /// what is stored of it is what they will find.
    pub(crate) fn cost_of(&self, client_id: &Bytes, changes: &[SessionChange], is_settled: bool) -> SessionCost {
        let takes_off = |change: &SessionChange| matches!(change, SessionChange::Unsubscribe { .. });
        let is_known = is_settled && !changes.iter().any(takes_off);
        let row = is_known.then(|| self.rows.get(client_id)).flatten();
        changes
            .iter()
            .map(|change| prices::cost_of(change, row.as_deref()))
            .sum()
    }

    /// What a session that begins is charged with.
    pub(crate) fn cost_of_new(client_id: &Bytes) -> SessionCost {
        SessionCost::of_row(row::SESSION_OVERHEAD_BYTES + client_id.len() as u64)
    }

    /// What a session that a proxy has kept is charged with, at most.
    pub(crate) fn cost_of_stored(client_id: &Bytes, session: &StoredSession) -> SessionCost {
        [Self::cost_of_new(client_id), prices::cost_of_stored(session)]
            .into_iter()
            .sum()
    }

    /// A connection gets the session. True: it was there before.
    ///
    /// One that was begun for a connection which ended, as far as is known, before its client was told begins anew: a client
    /// that has heard of another one, which has expired since, would take it for that.
    pub(super) fn attach(
        &mut self,
        client_id: &Bytes,
        epoch: SessionEpoch,
        clean_start: bool,
        expiry_interval_s: u32,
        notes: &mut Effects<Note>,
    ) -> bool {
        let is_untold = self.rows.get(client_id).is_some_and(|row| !row.is_told);
        if is_untold || clean_start && !planted!(CleanStartKeepsSession) {
            self.end(client_id, notes);
        }
        if self.rows.contains(client_id) {
            self.set_connected(client_id, true, None);
            if let Some(row) = self.rows.wake(client_id) {
                row.epoch = epoch;
                row.expiry_interval_s = expiry_interval_s;
            }
            self.changes.change(client_id.clone());
            return true;
        }
        if expiry_interval_s > 0 {
            let stored = StoredSession {
                generation: epoch,
                subscriptions: Vec::new(),
                cursors: Vec::new(),
                outbound: Vec::new(),
            };
            let mut begun = SessionRow::new(epoch, expiry_interval_s, stored);
            begun.is_told = false;
            self.insert(client_id, begun);
        }
        false
    }

    /// A proxy names a session that it holds, to a leader that may have forgotten it.
    pub(super) fn register(
        &mut self,
        client_id: &Bytes,
        epoch: SessionEpoch,
        expiry_interval_s: u32,
        session: Option<&StoredSession>,
        notes: &mut Effects<Note>,
    ) {
        let known = self.rows.get(client_id).map(|row| (row.epoch, row.stored.generation));
        match (known, session) {
            (Some((held, _)), _) if held > epoch => {}
            // Of a connection that is ending its proxy knows no more than that.
            (Some((held, generation)), _)
                if session.map_or(held == epoch && expiry_interval_s > 0, |s| s.generation == generation) =>
            {
                self.set_connected(client_id, true, None);
                if let Some(row) = self.rows.wake(client_id) {
                    row.epoch = epoch;
                    row.expiry_interval_s = expiry_interval_s;
                    // Only of a connection that has ended there may be no more than its end.
                    row.is_told |= session.is_some();
                }
            }
            // What is stored ended when the session of the proxy began.
            (_, session) => {
                self.end(client_id, notes);
                if let Some(session) = session {
                    self.insert(
                        client_id,
                        SessionRow::new(epoch, expiry_interval_s, row::sorted(session)),
                    );
                    if let Some(row) = self.rows.get(client_id) {
                        row.add_readers(&mut self.readers, notes);
                    }
                }
            }
        }
    }

    fn insert(&mut self, client_id: &Bytes, row: SessionRow) {
        self.bytes += row.bytes(client_id);
        self.changes.add(client_id.clone());
        self.rows.insert(client_id, row);
    }

    /// The connection of `epoch` has ended, and the session waits for the next one until its interval has passed.
    /// False: it was not that connection's.
    pub(super) fn detach(
        &mut self,
        client_id: &Bytes,
        epoch: SessionEpoch,
        expiry_interval_s: u32,
        log_time_ms: u64,
        notes: &mut Effects<Note>,
    ) -> bool {
        if !self.is_of(client_id, epoch) {
            return false;
        }
        if let Some(row) = self.rows.wake(client_id) {
            row.expiry_interval_s = expiry_interval_s;
        }
        if expiry_interval_s == 0 {
            self.end(client_id, notes);
        } else {
            self.set_connected(client_id, false, end_ms(expiry_interval_s, log_time_ms));
        }
        true
    }

    /// No connection is known any more: each session waits for its next one, or for the proxy that still has the present
    /// one to name it.
    pub(super) fn suspend_all(&mut self, log_time_ms: u64) {
        let connected = self.rows.connected();
        let connected: Vec<_> = connected
            .map(|(client_id, row)| (Bytes::copy_from_slice(client_id), row.expiry_interval_s))
            .collect();
        for (client_id, expiry_interval_s) in connected {
            let interval_s = expiry_interval_s.max(UNNAMED_S);
            self.set_connected(&client_id, false, end_ms(interval_s, log_time_ms));
        }
    }

    /// Whether it is stored, and the connection of `epoch` has it or had it last.
    fn is_of(&self, client_id: &[u8], epoch: SessionEpoch) -> bool {
        self.rows.get(client_id).is_some_and(|row| row.epoch == epoch)
    }

    fn set_connected(&mut self, client_id: &Bytes, connected: bool, ends_ms: Option<u64>) {
        let Some(id) = self.rows.id_of(client_id).cloned() else {
            return;
        };
        let Some(row) = self.rows.wake(client_id) else {
            return;
        };
        self.changes.change(client_id.clone());
        if let Some(before) = std::mem::replace(&mut row.ends_ms, ends_ms) {
            self.by_end.remove(&(before, id.clone()));
        }
        if let Some(after) = ends_ms {
            self.by_end.insert((after, id));
        }
        match (std::mem::replace(&mut row.connected, connected), connected) {
            (true, false) => self.offline += 1,
            (false, true) => self.offline -= 1,
            _ => {}
        }
        self.rows.rest(client_id);
    }

    /// Changes a session, of which its client has been told; without changes it is only that. False: it is not that
    /// connection's.
    pub(super) fn update(
        &mut self,
        client_id: &Bytes,
        epoch: SessionEpoch,
        changes: &[SessionChange],
        log_time_ms: u64,
        notes: &mut Effects<Note>,
    ) -> bool {
        if !self.is_of(client_id, epoch) {
            return false;
        }
        let Some(row) = self.rows.wake(client_id) else {
            return false;
        };
        self.changes.change(client_id.clone());
        row.is_told = true;
        let before = row.bytes(client_id);
        for change in changes {
            row.change(change, log_time_ms, &mut self.readers, notes);
        }
        self.bytes = self.bytes + row.bytes(client_id) - before;
        self.rows.rest(client_id);
        true
    }

    /// What it would be charged with that QoS 2 publications of a session are kept at this shard: in its row, or in the note
    /// that says that the session has ended.
    pub(crate) fn cost_of_packets(&self, client_id: &Bytes, generation: SessionEpoch, shard: ShardId) -> u64 {
        let row = self.rows.get(client_id);
        match row.filter(|row| row.stored.generation == generation) {
            Some(row) => row.cost_of_packets(shard),
            None => Note::cost_of(client_id),
        }
    }

    /// QoS 2 publications of a session are kept at `shard`.
    pub(super) fn has_packets(
        &mut self,
        client_id: &Bytes,
        generation: SessionEpoch,
        shard: ShardId,
        notes: &mut Effects<Note>,
    ) {
        if !self.knows(client_id, generation) {
            let client_id = client_id.clone();
            notes.send(shard, Note::ForgetPackets { client_id, generation });
            return;
        }
        let Some(row) = self.rows.wake(client_id) else {
            return;
        };
        if !row.packets_at.contains(&shard) {
            let before = row.bytes(client_id);
            row.is_told = true;
            row.packets_at.push(shard);
            self.changes.change(client_id.clone());
            self.bytes = self.bytes + row.bytes(client_id) - before;
        }
        self.rows.rest(client_id);
    }

    /// Ends up to `limit` sessions whose interval has passed; returns how many.
    pub(super) fn expire(&mut self, log_time_ms: u64, limit: usize, notes: &mut Effects<Note>) -> usize {
        let mut count = 0;
        while count < limit
            && let Some((ends_ms, client_id)) = self.by_end.first().cloned()
            && ends_ms <= log_time_ms
        {
            self.end(&Bytes::copy_from_slice(&client_id), notes);
            count += 1;
        }
        count
    }

    /// Whether more than `count` are to end by now.
    pub(crate) fn has_more_due(&self, log_time_ms: u64, count: usize) -> bool {
        let next = self.by_end.iter().nth(count);
        next.is_some_and(|(ends_ms, _)| *ends_ms <= log_time_ms)
    }

    /// When the first session ends, ms of log time.
    pub(crate) fn next_end(&self) -> Option<u64> {
        self.by_end.first().map(|(ends_ms, _)| *ends_ms)
    }

    fn end(&mut self, client_id: &Bytes, notes: &mut Effects<Note>) {
        self.set_connected(client_id, true, None);
        let Some(mut row) = self.rows.remove(client_id) else {
            return;
        };
        self.changes.remove(client_id.clone());
        self.bytes -= row.bytes(client_id);
        row.remove_readers(&mut self.readers, notes);
        row.release_all_kept(notes);
        for shard in &row.packets_at {
            notes.send(
                *shard,
                Note::ForgetPackets {
                    client_id: client_id.clone(),
                    generation: row.stored.generation,
                },
            );
        }
    }

    /// What shards of messages could drop and do not know.
    pub(crate) fn trims(&self) -> Trims {
        self.readers.trims()
    }

    /// Tells shards of messages, about up to `limit` filters, what nobody needs any more.
    pub(super) fn send_trims(&mut self, limit: usize, notes: &mut Effects<Note>) {
        self.readers.send_trims(limit, notes);
    }
}

fn end_ms(expiry_interval_s: u32, log_time_ms: u64) -> Option<u64> {
    (expiry_interval_s != NEVER_S && !planted!(SessionExpiryIgnored))
        .then(|| log_time_ms.saturating_add(u64::from(expiry_interval_s) * 1_000))
}

#[cfg(test)]
mod tests;
