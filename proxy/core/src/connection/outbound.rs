//! What waits to be written to one client: bytes that the socket did not take, answers, messages.
//!
//! Messages stay messages until bytes are written, so that expiry, topic alias and packet id are those of that moment
//! and whatever must be dropped can be. Answers go first. QoS 0 and the rest keep their common order, except that QoS 0
//! passes by when the client's window is full. Exists only while there is something; see [`super::spare`].

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use freshet_mqtt::{PacketId, QoS};
use freshet_storage_contract::{FilterId, Message, MonotonicMs, SessionChange, ShardId};

use super::durable::Place;
use super::leases::SharedLease;
use super::message::OutMessage;

/// Subscription identifiers of one delivery.
#[derive(Debug, Clone, Default)]
pub(crate) enum Identifiers {
    #[default]
    None,
    One(u32),
    Many(Box<[u32]>),
}

impl Identifiers {
    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }

    /// Adds an identifier; 0 is none.
    pub(crate) fn push(&mut self, identifier: u32) {
        if identifier == 0 {
            return;
        }
        *self = match std::mem::take(self) {
            Self::None => Self::One(identifier),
            Self::One(one) => Self::Many(Box::new([one, identifier])),
            Self::Many(all) => Self::Many(all.into_iter().chain([identifier]).collect()),
        };
    }
}

/// A message in a client's queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Arc<OutMessage>,
    pub(crate) identifiers: Identifiers,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// It was sent on an earlier connection (MQTT-3.3.1-1).
    pub(crate) is_repeated: bool,
    /// Taken before it is written, where storage has to know it first.
    pub(crate) packet_id: Option<PacketId>,
    /// Where it is kept, for a session that outlives its connection.
    pub(crate) place: Option<Place>,
    /// It came by a shared subscription, and storage waits for what becomes of it.
    pub(crate) lease: Option<Box<SharedLease>>,
    number: u32,
}

impl Queued {
    pub(crate) fn new(message: Arc<OutMessage>, qos: QoS, retain: bool, identifiers: Identifiers) -> Self {
        Self {
            message,
            identifiers,
            qos,
            retain,
            is_repeated: false,
            packet_id: None,
            place: None,
            lease: None,
            number: 0,
        }
    }

    /// Whether no shard has it for the session: a retained message that a subscription has brought.
    pub(crate) fn is_kept_nowhere(&self) -> bool {
        self.place.is_none() && self.lease.is_none()
    }

    /// The message as it is sent, for the session to keep; none: it has expired.
    pub(crate) fn to_be_kept(&self, now: MonotonicMs) -> Option<Box<Message>> {
        Some(Box::new(Message {
            retain: self.retain,
            message_expiry_interval_s: self.message.remaining_s(now).ok()?,
            ..Message::clone(&self.message.message)
        }))
    }
}

/// Everything that waits for one client's socket.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// Bytes that the socket did not take, oldest first.
    pub(crate) unwritten: VecDeque<Bytes>,
    unwritten_bytes: usize,
    /// Encoded packets that are no PUBLISH.
    pub(crate) control: Vec<u8>,
    qos0: VecDeque<Queued>,
    reliable: VecDeque<Queued>,
    next_number: u32,
    queued_bytes: usize,
    /// What the worker's gauge has been told.
    pub(crate) accounted_bytes: usize,
}

impl Outbound {
    /// Appends a message.
    pub(crate) fn push(&mut self, mut queued: Queued) {
        queued.number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        self.queued_bytes += queued.message.charged_bytes();
        match queued.qos {
            QoS::AtMostOnce => self.qos0.push_back(queued),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.reliable.push_back(queued),
        }
    }

    /// Takes the next message to be written; `may_send`: whether the next one of QoS 1 or 2 may be.
    pub(crate) fn pop(&mut self, may_send: impl FnOnce(&Queued) -> bool) -> Option<Queued> {
        let reliable_first = self.reliable.front().is_some_and(may_send)
            && match (self.qos0.front(), self.reliable.front()) {
                (_, None) => false,
                (None, Some(_)) => true,
                // Numbers wrap around: the older one is the one that is behind.
                (Some(a), Some(b)) => a.number.wrapping_sub(b.number) < u32::MAX / 2,
            };
        let queued = if reliable_first {
            self.reliable.pop_front()
        } else {
            self.qos0.pop_front()
        };
        queued.inspect(|q| self.queued_bytes -= q.message.charged_bytes())
    }

    /// How many messages of QoS 1 and 2 wait.
    pub(crate) fn reliable_len(&self) -> usize {
        self.reliable.len()
    }

    /// Takes out what came by a shared subscription and has no packet id yet.
    pub(crate) fn take_shared(&mut self, filter_id: FilterId) -> Vec<SharedLease> {
        let taken = self.take_leased(|lease, packet_id| packet_id.is_none() && lease.filter_id == filter_id);
        taken.into_iter().map(|(lease, _)| *lease).collect()
    }

    /// Takes out messages of a shard's groups that the client was not sent; returns the packet ids that they had.
    pub(crate) fn drop_leased(&mut self, shard: ShardId) -> Vec<PacketId> {
        let taken = self.take_leased(|lease, _| lease.shard == shard);
        taken.into_iter().filter_map(|(_, packet_id)| packet_id).collect()
    }

    fn take_leased(
        &mut self,
        is_one: impl Fn(&SharedLease, Option<PacketId>) -> bool,
    ) -> Vec<(Box<SharedLease>, Option<PacketId>)> {
        let mut taken = Vec::new();
        self.reliable.retain_mut(|queued| {
            let packet_id = queued.packet_id;
            let Some(lease) = queued.lease.take_if(|lease| is_one(lease, packet_id)) else {
                return true;
            };
            self.queued_bytes -= queued.message.charged_bytes();
            taken.push((lease, packet_id));
            false
        });
        taken
    }

    /// Takes the leases of messages that become the session's own with these changes.
    pub(crate) fn take_leases(&mut self, changes: &[SessionChange]) -> Box<[SharedLease]> {
        let taking = changes.iter().filter_map(|change| match change {
            SessionChange::Sending {
                packet_id,
                shared: Some(_),
                ..
            } => Some(*packet_id),
            _ => None,
        });
        let mut taking: Vec<PacketId> = taking.collect();
        if taking.is_empty() {
            return Box::default();
        }
        taking.sort_unstable();
        let own = |queued: &&mut Queued| queued.packet_id.is_some_and(|id| taking.binary_search(&id).is_ok());
        let leases = self.reliable.iter_mut().filter(own);
        leases
            .filter_map(|queued| queued.lease.take().map(|lease| *lease))
            .collect()
    }

    /// Messages of QoS 1 and 2, oldest first.
    pub(crate) fn reliable_mut(&mut self) -> impl Iterator<Item = &mut Queued> {
        self.reliable.iter_mut()
    }

    /// Gives bytes of their own to messages that stay. Those in front of one that has them have them too.
    pub(crate) fn own_messages(&mut self) {
        if self.queued_bytes == 0 {
            return;
        }
        for queue in [&mut self.qos0, &mut self.reliable] {
            for queued in queue.iter_mut().rev().take_while(|q| q.message.is_part()) {
                queued.message = queued.message.own();
            }
        }
    }

    /// Drops the oldest QoS 0 message.
    pub(crate) fn drop_qos0(&mut self) -> bool {
        let dropped = self.qos0.pop_front();
        self.queued_bytes -= dropped.as_ref().map_or(0, |q| q.message.charged_bytes());
        dropped.is_some()
    }

    /// Drops the oldest QoS 1 or 2 message.
    pub(crate) fn drop_reliable(&mut self) -> Option<Queued> {
        let dropped = self.reliable.pop_front();
        self.queued_bytes -= dropped.as_ref().map_or(0, |q| q.message.charged_bytes());
        dropped
    }

    /// Whether a message could be written.
    pub(crate) fn has_message(&self, with_reliable: bool) -> bool {
        !self.qos0.is_empty() || (with_reliable && !self.reliable.is_empty())
    }

    /// Keeps bytes that the socket did not take, behind those of before.
    pub(crate) fn keep_unwritten(&mut self, bytes: Bytes) {
        self.unwritten_bytes += bytes.len();
        self.unwritten.push_back(bytes);
    }

    /// The socket took `bytes` of what it had not taken before. Returns what is left of `bytes`.
    pub(crate) fn advance_unwritten(&mut self, mut bytes: usize) -> usize {
        while bytes > 0 {
            let Some(front) = self.unwritten.front_mut() else { break };
            let taken = bytes.min(front.len());
            self.unwritten_bytes -= taken;
            bytes -= taken;
            if taken == front.len() {
                self.unwritten.pop_front();
            } else {
                *front = front.slice(taken..);
            }
        }
        bytes
    }

    /// Bytes that are no longer messages: they cannot be dropped.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.unwritten_bytes + self.control.len()
    }

    /// All bytes that wait.
    pub(crate) fn total_bytes(&self) -> usize {
        self.encoded_bytes() + self.queued_bytes
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.unwritten.is_empty() && self.control.is_empty() && self.qos0.is_empty() && self.reliable.is_empty()
    }

    /// Drops all messages: the connection ends.
    pub(crate) fn drop_messages(&mut self) {
        self.qos0.clear();
        self.reliable.clear();
        self.queued_bytes = 0;
    }

    /// Whether it is small enough to be kept for another connection.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.control.capacity() <= 4 << 10
            && self.qos0.capacity() <= 64
            && self.reliable.capacity() <= 64
            && self.unwritten.capacity() <= 64
    }
}
