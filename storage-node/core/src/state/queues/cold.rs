//! Where the content of queued messages is: in memory, or on disk alone.
//!
//! The row of a message is written once and never changes. When it is in a checkpoint that is safe
//! ([`Queues::checkpointed`]), its content may go from memory ([`Queues::give_up_through`]), the oldest first: who keeps up
//! reads near the end. Its length, its times and its queues stay, so expiry, trims and bounds need no disk. Who reads the
//! content finds [`Content::OnDisk`], and has the row brought back ([`Queues::bring`]) until it has read it
//! ([`Queues::let_go`]). Which messages are in memory is no part of what replicas agree on. Leaves out who waits for what,
//! which is the leader's (`crate::shard`), and how much may be in memory, which is the node's.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use bytes::Bytes;
use freshet_storage_contract::{Message, Position};

use super::messages::{MessageRow, Messages, Queued, Waiting, message_of, remaining};
use super::{Queues, ROW_BYTES};
use crate::codec::Code;
use crate::planted::planted;
use crate::state::rows::RowError;

/// What a message whose content is on disk alone costs in memory beside its rows: its place, its times, its queues.
const PLACE_BYTES: u64 = 128;

/// What of the queued messages is in memory.
#[derive(Debug, Default)]
pub(super) struct Residence {
    /// Messages with their content.
    messages: usize,
    /// What they are charged with.
    bytes: u64,
    /// Up to here rows of messages are in a checkpoint that is safe.
    checkpointed: Position,
    /// Up to here no message has its content.
    given_up: Position,
    /// Content that was brought back for readers.
    brought: BTreeMap<Position, Message>,
    brought_bytes: u64,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// With what remains of its expiry interval.
    Here(Message),
    /// It has to be brought back.
    OnDisk {
        /// What the message is charged with.
        bytes: u64,
    },
}

impl Residence {
    pub(super) fn added(&mut self, queued: &Queued) {
        if queued.content.is_some() {
            self.messages += 1;
            self.bytes += u64::from(queued.charged_bytes);
        }
    }

    pub(super) fn removed(&mut self, queued: &Queued) {
        if queued.content.is_some() {
            self.messages -= 1;
            self.bytes -= u64::from(queued.charged_bytes);
        }
    }
}

impl Messages {
    /// Messages whose content is in memory and may go, the oldest first.
    fn coldest_first(&self) -> impl Iterator<Item = (Position, &Queued)> {
        let Residence {
            checkpointed, given_up, ..
        } = self.residence;
        let range = (Excluded(given_up), Included(checkpointed.max(given_up)));
        let known = self.by_position.range(range);
        let in_memory = known.filter(|(_, queued)| queued.content.is_some());
        in_memory.map(|(position, queued)| (*position, queued))
    }

    fn coldest(&self) -> Option<Position> {
        self.coldest_first().next().map(|(position, _)| position)
    }

    fn give_up(&mut self, position: Position) {
        self.residence.given_up = self.residence.given_up.max(position);
        // What is in a checkpoint that is safe was handed over, and is not handed over again.
        if self.changes.contains(&position) {
            return;
        }
        if let Some(queued) = self.by_position.get_mut(&position)
            && queued.content.take().is_some()
        {
            self.residence.messages -= 1;
            self.residence.bytes -= u64::from(queued.charged_bytes);
        }
    }

    /// The content of a message that was brought back, or of one that was not.
    pub(super) fn brought(
        &self,
        position: Position,
        bytes: u64,
        expires_ms: Option<u64>,
        log_time_ms: u64,
    ) -> (Content, bool) {
        match self.residence.brought.get(&position) {
            Some(message) => {
                let (message, has_expired) = remaining(message.clone(), expires_ms, log_time_ms);
                (Content::Here(message), has_expired)
            }
            None => {
                let has_expired = expires_ms.is_some_and(|expires_ms| expires_ms <= log_time_ms);
                (Content::OnDisk { bytes }, has_expired)
            }
        }
    }

    /// The content of a message, and whether its expiry interval has passed.
    fn content(&self, position: Position, log_time_ms: u64) -> Option<(Content, bool)> {
        let queued = self.by_position.get(&position)?;
        let bytes = u64::from(queued.charged_bytes);
        Some(match &queued.content {
            Some(row) => {
                let (message, has_expired) = remaining(message_of(row)?, queued.expires_ms, log_time_ms);
                (Content::Here(message), has_expired)
            }
            None => self.brought(position, bytes, queued.expires_ms, log_time_ms),
        })
    }
}

impl Queues {
    /// The content of a message, with what remains of its expiry interval, and whether that has passed.
    pub(crate) fn read(&self, position: Position, log_time_ms: u64) -> Option<(Content, bool)> {
        let queued = self.messages.content(position, log_time_ms);
        queued.or_else(|| self.kept.read(position, &self.messages, log_time_ms))
    }

    /// The same of a message that some queue names.
    pub(super) fn read_queued(&self, position: Position, log_time_ms: u64) -> Option<(Content, bool)> {
        self.messages.content(position, log_time_ms)
    }

    /// The same of one whose content has to be brought back; none: it is in memory, or no queue names it.
    pub(super) fn on_disk(&self, position: Position, log_time_ms: u64) -> Option<(Content, bool)> {
        let queued = self.messages.by_position.get(&position)?;
        let is_here = queued.content.is_some() || self.messages.residence.brought.contains_key(&position);
        let bytes = u64::from(queued.charged_bytes);
        (!is_here).then(|| self.messages.brought(position, bytes, queued.expires_ms, log_time_ms))
    }

    /// Bytes of content in memory: of what is queued, of what sessions have taken, and of what was brought back.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let Residence {
            bytes, brought_bytes, ..
        } = self.messages.residence;
        bytes + brought_bytes + self.kept.resident_bytes()
    }

    /// Bytes that all of it takes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let on_disk = self.messages.len() - self.messages.residence.messages + self.kept.held();
        self.resident_bytes() + on_disk as u64 * PLACE_BYTES + self.rows * ROW_BYTES
    }

    /// Rows of messages up to `through` are in a checkpoint that is safe.
    pub(crate) fn checkpointed(&mut self, through: Position) {
        let through = if planted!(ContentGivenUpUnsafe) {
            Position(u64::MAX)
        } else {
            through
        };
        let residence = &mut self.messages.residence;
        residence.checkpointed = residence.checkpointed.max(through);
    }

    /// Whether the content of some message may go.
    pub(crate) fn can_give_up(&self) -> bool {
        self.messages.coldest().is_some()
    }

    /// Messages whose content may go, in the order in which they came, with what they are charged with alone.
    pub(crate) fn coldest_first(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.messages.coldest_first().map(|(position, queued)| Waiting {
            position,
            came_ms: queued.came_ms,
            bytes: u64::from(queued.charged_bytes),
        })
    }

    /// Gives up the content of messages up to a position that [`Self::coldest_first`] has named.
    pub(crate) fn give_up_through(&mut self, through: Position) {
        while let Some(position) = self.messages.coldest().filter(|at| *at <= through) {
            self.messages.give_up(position);
        }
    }

    /// Gives up content until no more than `bytes` are in memory, as far as it may go.
    pub(crate) fn give_up_beyond(&mut self, bytes: u64) {
        while self.messages.residence.bytes > bytes
            && let Some(position) = self.messages.coldest()
        {
            self.messages.give_up(position);
        }
    }

    /// The row of a message has been read; none: there is none. What nobody has any more is passed over.
    ///
    /// # Errors
    /// The row is not one, or is not there though the message is.
    pub(crate) fn bring(&mut self, position: Position, row: Option<Bytes>) -> Result<(), RowError> {
        let queued = self.messages.by_position.get(&position);
        let is_on_disk = queued.map_or(self.kept.is_held(position), |queued| queued.content.is_none());
        if !is_on_disk {
            return Ok(());
        }
        let message = MessageRow::from_bytes(row.ok_or(RowError::Missing)?)?.message;
        let residence = &mut self.messages.residence;
        residence.brought_bytes += message.charged_bytes() as u64;
        if let Some(former) = residence.brought.insert(position, message) {
            residence.brought_bytes -= former.charged_bytes() as u64;
        }
        Ok(())
    }

    /// Nobody waits for what was brought back.
    pub(crate) fn let_go(&mut self, position: Position) {
        let residence = &mut self.messages.residence;
        if let Some(message) = residence.brought.remove(&position) {
            residence.brought_bytes -= message.charged_bytes() as u64;
        }
    }
}
