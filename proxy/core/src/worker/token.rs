//! Names of connections between a worker and its shell.

/// One connection of one worker: its slot, and which life of the slot it is. Fits what an epoll event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionToken(u64);

/// The shell's own number of a listener; never given to another listener while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerIndex(pub u16);

impl ConnectionToken {
    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The token as a number, for an event queue.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The token that [`Self::to_u64`] gave. A number that never was one names no connection.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Index below the worker's `max_connections` while the connection has a socket: the shell may keep its own side
    /// of the connection in a table of the same indexes.
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & 0xFFFF_FFFF) as u32
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
