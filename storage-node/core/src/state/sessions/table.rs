//! Sessions by client id. One without connection is *at rest*: as the bytes of its row, a third of what is read from them.
//! There may be millions of these, and it is long until somebody asks for one.

use std::collections::BTreeMap;
use std::ops::{Bound, Deref};
use std::sync::Arc;

use bytes::Bytes;

use super::row::SessionRow;
use crate::codec::Code;
use crate::state::tight;

/// A client id that is kept.
pub(super) type ClientId = Arc<[u8]>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SessionTable {
    rows: BTreeMap<ClientId, Kept>,
    // Reused from call to call.
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Kept {
    Awake(Box<SessionRow>),
    AtRest(Box<[u8]>),
}

/// A session that is looked at.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    Awake(&'a SessionRow),
    /// It is at rest, and stays so.
    Read(Box<SessionRow>),
}

impl Deref for Seen<'_> {
    type Target = SessionRow;

    fn deref(&self) -> &SessionRow {
        match self {
            Self::Awake(row) => row,
            Self::Read(row) => row,
        }
    }
}

impl SessionTable {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn contains(&self, client_id: &[u8]) -> bool {
        self.rows.contains_key(client_id)
    }

    /// Whether it is there and without connection.
    pub(super) fn is_offline(&self, client_id: &[u8]) -> bool {
        match self.rows.get(client_id) {
            None => false,
            Some(Kept::Awake(row)) => !row.connected,
            Some(Kept::AtRest(_)) => true,
        }
    }

    pub(super) fn get(&self, client_id: &[u8]) -> Option<Seen<'_>> {
        match self.rows.get(client_id)? {
            Kept::Awake(row) => Some(Seen::Awake(row)),
            Kept::AtRest(bytes) => read(bytes).map(Seen::Read),
        }
    }

    /// The session, awake from now on. Who changes it lets it [rest](Self::rest) behind that.
    pub(super) fn wake(&mut self, client_id: &[u8]) -> Option<&mut SessionRow> {
        let kept = self.rows.get_mut(client_id)?;
        if let Kept::AtRest(bytes) = kept {
            *kept = Kept::Awake(read(bytes)?);
        }
        match kept {
            Kept::Awake(row) => Some(row),
            Kept::AtRest(_) => None,
        }
    }

    /// Puts a session at rest that has no connection.
    pub(super) fn rest(&mut self, client_id: &[u8]) {
        if let Some(kept) = self.rows.get_mut(client_id)
            && let Kept::Awake(row) = kept
            && !row.connected
        {
            row.write(&mut self.scratch);
            *kept = Kept::AtRest(self.scratch.as_slice().into());
            self.scratch.clear();
        }
    }

    /// Adds a session, and lets it rest if it has no connection.
    pub(super) fn insert(&mut self, client_id: &[u8], row: SessionRow) {
        self.rows.insert(client_id.into(), Kept::Awake(Box::new(row)));
        self.rest(client_id);
    }

    pub(super) fn remove(&mut self, client_id: &[u8]) -> Option<Box<SessionRow>> {
        match self.rows.remove(client_id)? {
            Kept::Awake(row) => Some(row),
            Kept::AtRest(bytes) => read(&bytes),
        }
    }

    pub(super) fn tighten(&mut self) {
        tight::fill(&mut self.rows);
    }

    /// The client id of a session as it is kept.
    pub(super) fn id_of(&self, client_id: &[u8]) -> Option<&ClientId> {
        self.rows.get_key_value(client_id).map(|(id, _)| id)
    }

    /// Client ids from one on, in order.
    pub(super) fn ids_from<'a>(&'a self, from: Bound<&'a [u8]>) -> impl Iterator<Item = &'a ClientId> + 'a {
        self.rows.range::<[u8], _>((from, Bound::Unbounded)).map(|(id, _)| id)
    }

    /// Sessions with a connection.
    pub(super) fn connected(&self) -> impl Iterator<Item = (&ClientId, &SessionRow)> + '_ {
        self.rows.iter().filter_map(|(id, kept)| match kept {
            Kept::Awake(row) if row.connected => Some((id, &**row)),
            _ => None,
        })
    }

    /// The bytes of a session's row.
    pub(super) fn row_of(&self, client_id: &[u8]) -> Option<Bytes> {
        Some(match self.rows.get(client_id)? {
            Kept::Awake(row) => row.to_bytes(),
            Kept::AtRest(bytes) => Bytes::copy_from_slice(bytes),
        })
    }
}

/// The session of a row that was written here.
fn read(bytes: &[u8]) -> Option<Box<SessionRow>> {
    SessionRow::copied_from(Bytes::copy_from_slice(bytes))
        .map(Box::new)
        .ok()
}
