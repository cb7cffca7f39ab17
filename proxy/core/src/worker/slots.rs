//! The connections of a worker by token: a slab whose slots have generations.

use super::token::ConnectionToken;
use crate::connection::Connection;

/// The connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

impl Connections {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a connection. None: there is no number left for it.
    pub(crate) fn insert(&mut self, connection: Connection) -> Option<ConnectionToken> {
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                let at = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot {
                    generation: 0,
                    connection: None,
                });
                at
            }
        };
        let slot = self.slots.get_mut(at as usize)?;
        slot.connection = Some(connection);
        Some(ConnectionToken::new(at, slot.generation))
    }

    /// The connection of a token; none if it has gone.
    pub(crate) fn get_mut(&mut self, token: ConnectionToken) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(token.slot() as usize)?;
        slot.connection
            .as_mut()
            .filter(|_| slot.generation == token.generation())
    }

    /// The connection of a token; none if it has gone.
    pub(crate) fn get(&self, token: ConnectionToken) -> Option<&Connection> {
        let slot = self.slots.get(token.slot() as usize)?;
        slot.connection
            .as_ref()
            .filter(|_| slot.generation == token.generation())
    }

    /// The connection in a slot.
    pub(crate) fn at_slot(&self, at: u32) -> Option<&Connection> {
        self.slots.get(at as usize)?.connection.as_ref()
    }

    /// The connection in a slot, with its token.
    pub(crate) fn in_slot(&mut self, at: u32) -> Option<(ConnectionToken, &mut Connection)> {
        let slot = self.slots.get_mut(at as usize)?;
        let token = ConnectionToken::new(at, slot.generation);
        slot.connection.as_mut().map(|connection| (token, connection))
    }

    /// Removes a connection: its token means nothing any more.
    pub(crate) fn remove(&mut self, token: ConnectionToken) -> Option<Connection> {
        let slot = self.slots.get_mut(token.slot() as usize)?;
        if slot.generation != token.generation() {
            return None;
        }
        let removed = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.slot());
        Some(removed)
    }

    /// Slots in use are below this.
    pub(crate) fn slot_end(&self) -> u32 {
        // `insert` refuses more.
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// All connections.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.iter_mut().filter_map(|slot| slot.connection.as_mut())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionToken, &Connection)> {
        (0..).zip(&self.slots).filter_map(|(at, slot)| {
            slot.connection
                .as_ref()
                .map(|connection| (ConnectionToken::new(at, slot.generation), connection))
        })
    }
}
