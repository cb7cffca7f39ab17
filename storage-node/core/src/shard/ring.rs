//! The numbered deliveries of a shard to one proxy, kept until the proxy has acknowledged them.
//!
//! Bounded in bytes. A QoS >= 1 message that finds it full is lost, and with it all that follow until the proxy has
//! taken half of what is in the ring; then [`Delivery::Overrun`] stands in the stream where the lost ones would have
//! been. What is in the ring stays and is delivered, so numbers never have gaps. Answers within the stream (markers,
//! retained messages) are never lost: their senders look at [`Ring::has_room`] first.
//! Leaves out credits (`crate::incarnations`) and who waits for what (`super::publisher`).

mod aging;
mod passing;

use std::collections::VecDeque;
use std::sync::Arc;

use freshet_storage_contract::{
    Delivery, DeliverySeq, FilterId, FilterIds, InterestVersion, Message, MonotonicMs, Position, PublishSeq,
};

use self::aging::{aged, aged_answer};
use crate::incarnations::PeerKey;

/// What a marker or an overrun costs in the ring, in bytes; on the link they cost nothing.
const SMALL_DELIVERY_BYTES: usize = 64;
/// Bytes of reads in the ring beyond which others wait: what is live comes behind them.
const READ_BYTES: usize = 64 << 10;
/// An empty ring gives back what it has beyond this many items.
const IDLE_CAPACITY: usize = 256;

/// The publication that is answered when this delivery and its siblings are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) publisher: PeerKey,
    pub(crate) seq: PublishSeq,
}

/// Deliveries of one shard to one incarnation.
#[derive(Debug)]
pub(crate) struct Ring {
    items: VecDeque<Item>,
    /// Filter ids of the messages in `items`, in their order: one allocation for all.
    filter_ids: VecDeque<FilterId>,
    /// Filter ids that have left the front of `filter_ids`.
    filter_ids_gone: u64,
    /// Number of the first item.
    first: u64,
    /// How many items the present link has been given.
    sent: usize,
    /// How many items this link or an earlier one has been given.
    given: usize,
    bytes: usize,
    /// Of these, what was read for the proxy.
    read_bytes: usize,
    limit_bytes: usize,
    /// QoS >= 1 messages lost since the ring became full; none: it is not full.
    overrun: Option<u64>,
    silent: bool,
    /// The log knows that publications may pass the proxy by: until then none is answered without it.
    is_noted: bool,
    /// Publications that were lost and wait for that.
    unnoted: Vec<Waiter>,
    /// Number of the last item that was answered for without the proxy, or that tells it so; 0: there was none.
    passed_through: u64,
    /// When the proxy last acknowledged something, or the ring stopped being empty.
    progress: MonotonicMs,
}

#[derive(Debug)]
struct Item {
    body: Body,
    ring_bytes: usize,
    waiter: Option<Waiter>,
    entered: MonotonicMs,
}

#[derive(Debug)]
enum Body {
    Message {
        message: Arc<Message>,
        position: Option<Position>,
        filter_ids_at: u64,
        filter_ids: usize,
    },
    Marker {
        version: InterestVersion,
    },
    /// An answer to a request of the proxy.
    Answer {
        delivery: Box<Delivery>,
        /// Bytes charged for its messages.
        bytes: usize,
        /// It is what was read, and not a message of a group or a word about a request.
        is_read: bool,
    },
    Overrun {
        queues_lost: bool,
    },
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is in the ring, and its publication waits for it.
    Waited,
    /// It is in the ring; its publication does not wait, since the proxy is silent.
    Unwaited,
    /// There was no room: the ring is overrun from now on.
    BecameFull {
        /// Its publication waits until the log knows.
        waits: bool,
    },
    /// The ring is overrun: the message is lost, and the proxy will be told.
    Lost {
        /// Its publication waits until the log knows.
        waits: bool,
    },
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// Known already.
    Old,
    /// Items have left.
    Progress {
        /// The overrun is over: this many messages were lost.
        recovered: Option<u64>,
    },
    /// Nothing of this number was sent.
    Unsent,
}

impl Ring {
    /// An empty ring whose numbers begin behind `received`.
    pub(crate) fn new(limit_bytes: usize, received: DeliverySeq, now: MonotonicMs) -> Self {
        Self {
            items: VecDeque::new(),
            filter_ids: VecDeque::new(),
            filter_ids_gone: 0,
            first: first_behind(received),
            sent: 0,
            given: 0,
            bytes: 0,
            read_bytes: 0,
            limit_bytes,
            overrun: None,
            silent: false,
            is_noted: false,
            unnoted: Vec::new(),
            passed_through: 0,
            progress: now,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an answer within the stream can be added now, or should wait.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < self.limit_bytes
    }

    /// Whether what is read for the proxy can be added now, or should wait: a part of the ring is left to what is live.
    pub(crate) fn has_room_to_read(&self) -> bool {
        self.has_room() && self.read_bytes < READ_BYTES
    }

    /// Whether a message that is leased to the proxy can be added now, or should go elsewhere or wait.
    pub(crate) fn takes_leased(&self) -> bool {
        self.overrun.is_none() && !self.silent && self.has_room()
    }

    /// Whether even markers have grown beyond what a proxy that reads could leave there.
    pub(crate) fn is_beyond_bound(&self) -> bool {
        self.bytes > self.limit_bytes.saturating_mul(2)
    }

    /// Whether a QoS 0 message of this size would be put in, if there is credit for it.
    pub(crate) fn takes_qos_0(&self, message: &Message) -> bool {
        self.overrun.is_none() && !self.has_unsent() && self.fits(message.charged_bytes())
    }

    /// Whether something has not been given to the present link.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.items.len()
    }

    fn fits(&self, bytes: usize) -> bool {
        // One message always fits, whatever its size.
        self.items.is_empty() || self.bytes.saturating_add(bytes) <= self.limit_bytes
    }

    /// Adds a QoS >= 1 message.
    pub(crate) fn push_message(
        &mut self,
        filter_ids: impl ExactSizeIterator<Item = FilterId>,
        message: &Arc<Message>,
        position: Option<Position>,
        waiter: Option<Waiter>,
        now: MonotonicMs,
    ) -> Pushed {
        let ring_bytes = message.charged_bytes() + filter_ids.len() * size_of::<FilterId>();
        if let Some(lost) = &mut self.overrun {
            *lost += 1;
            let waits = self.lose(waiter);
            return Pushed::Lost { waits };
        }
        if !self.fits(ring_bytes) {
            self.overrun = Some(1);
            let waits = self.lose(waiter);
            return Pushed::BecameFull { waits };
        }
        let passes = self.silent && self.is_noted;
        let waiter = if passes { None } else { waiter };
        self.insert_message(filter_ids, (message, position), ring_bytes, waiter, now);
        if passes {
            self.passed_through = self.last_number();
        }
        if waiter.is_some() {
            Pushed::Waited
        } else {
            Pushed::Unwaited
        }
    }

    /// Number of the last item.
    fn last_number(&self) -> u64 {
        self.first + self.items.len() as u64 - 1
    }

    /// Adds a QoS 0 message that [`Self::takes_qos_0`].
    pub(crate) fn push_qos_0(
        &mut self,
        filter_ids: impl ExactSizeIterator<Item = FilterId>,
        message: &Arc<Message>,
        now: MonotonicMs,
    ) {
        let ring_bytes = message.charged_bytes() + filter_ids.len() * size_of::<FilterId>();
        self.insert_message(filter_ids, (message, None), ring_bytes, None, now);
    }

    fn insert_message(
        &mut self,
        filter_ids: impl ExactSizeIterator<Item = FilterId>,
        (message, position): (&Arc<Message>, Option<Position>),
        ring_bytes: usize,
        waiter: Option<Waiter>,
        now: MonotonicMs,
    ) {
        let filter_ids_at = self.filter_ids_gone + self.filter_ids.len() as u64;
        let count = filter_ids.len();
        self.filter_ids.extend(filter_ids);
        let body = Body::Message {
            message: Arc::clone(message),
            position,
            filter_ids_at,
            filter_ids: count,
        };
        self.insert(
            Item {
                body,
                ring_bytes,
                waiter,
                entered: now,
            },
            now,
        );
    }

    /// Adds a confirmation of interest. One that has not left is replaced: confirmations are cumulative.
    pub(crate) fn push_marker(&mut self, version: InterestVersion, now: MonotonicMs) {
        // An item that an earlier link was given may have arrived: it keeps what it says.
        if self.items.len() > self.given
            && let Some(Item {
                body: Body::Marker { version: last },
                ..
            }) = self.items.back_mut()
        {
            *last = version;
            return;
        }
        let body = Body::Marker { version };
        self.insert(
            Item {
                body,
                ring_bytes: SMALL_DELIVERY_BYTES,
                waiter: None,
                entered: now,
            },
            now,
        );
    }

    /// Adds an answer to a request; `bytes` is what its messages are charged with.
    pub(crate) fn push_answer(&mut self, delivery: Delivery, bytes: usize, now: MonotonicMs) {
        self.insert_answer(delivery, bytes, false, now);
    }

    /// Adds what was read for the proxy; `bytes` is what its messages are charged with.
    pub(crate) fn push_read(&mut self, delivery: Delivery, bytes: usize, now: MonotonicMs) {
        self.read_bytes += bytes;
        self.insert_answer(delivery, bytes, true, now);
    }

    fn insert_answer(&mut self, delivery: Delivery, bytes: usize, is_read: bool, now: MonotonicMs) {
        let body = Body::Answer {
            delivery: Box::new(delivery),
            bytes,
            is_read,
        };
        self.insert(
            Item {
                body,
                ring_bytes: bytes + SMALL_DELIVERY_BYTES,
                waiter: None,
                entered: now,
            },
            now,
        );
    }

    fn insert(&mut self, item: Item, now: MonotonicMs) {
        if self.items.is_empty() {
            self.progress = now;
        }
        self.bytes += item.ring_bytes;
        self.items.push_back(item);
    }

    /// Takes the next delivery for the present link, when `pay` agrees to its price in bytes. The second value tells
    /// whether an earlier link was given it already.
    pub(crate) fn send_next(
        &mut self,
        now: MonotonicMs,
        pay: impl FnOnce(usize) -> bool,
    ) -> Option<(DeliverySeq, Delivery, bool)> {
        let item = self.items.get(self.sent)?;
        let price = match &item.body {
            Body::Message { message, .. } => message.charged_bytes(),
            Body::Answer { bytes, .. } => *bytes,
            Body::Marker { .. } | Body::Overrun { .. } => 0,
        };
        if !pay(price) {
            return None;
        }
        let waited = now.since(item.entered);
        let delivery = match &item.body {
            Body::Message {
                message,
                position,
                filter_ids_at,
                filter_ids,
            } => {
                // Less than what is in memory.
                let at = usize::try_from(filter_ids_at - self.filter_ids_gone).unwrap_or(usize::MAX);
                let mut of_message = self.filter_ids.range(at..at + filter_ids).copied();
                let filter_ids = match (of_message.next(), *filter_ids) {
                    (Some(one), 1) => FilterIds::One(one),
                    (first, _) => FilterIds::Many(first.into_iter().chain(of_message).collect()),
                };
                Delivery::Message {
                    filter_ids,
                    message: aged(Arc::clone(message), waited),
                    position: *position,
                }
            }
            Body::Marker { version } => Delivery::Marker { version: *version },
            Body::Answer { delivery, .. } => aged_answer(delivery, waited),
            Body::Overrun { queues_lost } => Delivery::Overrun {
                queues_lost: *queues_lost,
            },
        };
        let seq = DeliverySeq(self.first + self.sent as u64);
        self.sent += 1;
        let again = self.sent <= self.given;
        self.given = self.given.max(self.sent);
        Some((seq, delivery, again))
    }

    /// The proxy has everything up to `seq`. Publications that waited for it come out in `released`.
    pub(crate) fn acknowledge(
        &mut self,
        seq: DeliverySeq,
        now: MonotonicMs,
        released: &mut Vec<Waiter>,
    ) -> Acknowledged {
        let Some(count) = seq.0.saturating_add(1).checked_sub(self.first).filter(|n| *n > 0) else {
            return Acknowledged::Old;
        };
        let Some(count) = usize::try_from(count).ok().filter(|n| *n <= self.given) else {
            return Acknowledged::Unsent;
        };
        for item in self.items.drain(..count) {
            self.bytes -= item.ring_bytes;
            released.extend(item.waiter);
            match item.body {
                Body::Message { filter_ids, .. } => {
                    self.filter_ids.drain(..filter_ids);
                    self.filter_ids_gone += filter_ids as u64;
                }
                Body::Answer {
                    bytes, is_read: true, ..
                } => self.read_bytes -= bytes,
                Body::Answer { .. } | Body::Marker { .. } | Body::Overrun { .. } => {}
            }
        }
        self.first += count as u64;
        // A proxy may acknowledge, on a new link, what it had of an old one.
        self.sent = self.sent.saturating_sub(count);
        self.given -= count;
        self.progress = now;
        self.silent = false;
        if self.items.is_empty() && self.items.capacity() > IDLE_CAPACITY {
            self.items.shrink_to(IDLE_CAPACITY);
            self.filter_ids.shrink_to(IDLE_CAPACITY);
        }
        Acknowledged::Progress {
            recovered: self.recover(now),
        }
    }

    /// Ends an overrun once the proxy has taken half of the ring.
    fn recover(&mut self, now: MonotonicMs) -> Option<u64> {
        if self.bytes > self.limit_bytes / 2 {
            return None;
        }
        let lost = self.overrun.take()?;
        self.push_overrun(false, now);
        Some(lost)
    }

    /// Tells the proxy that messages were lost before this place; `queues_lost`: for sessions that outlive their
    /// connection, too.
    pub(crate) fn push_overrun(&mut self, queues_lost: bool, now: MonotonicMs) {
        let item = Item {
            body: Body::Overrun { queues_lost },
            ring_bytes: SMALL_DELIVERY_BYTES,
            waiter: None,
            entered: now,
        };
        self.insert(item, now);
        self.passed_through = self.last_number();
    }

    /// A new link begins, whose proxy has everything up to `received`. False: that is not what was sent to it, so
    /// deliveries may be lost; what is in the ring follows under the numbers that the proxy waits for.
    pub(crate) fn resume(&mut self, received: DeliverySeq) -> bool {
        let has = received
            .0
            .saturating_add(1)
            .checked_sub(self.first)
            .and_then(|n| usize::try_from(n).ok());
        match has {
            Some(count) if count <= self.given => {
                self.sent = count;
                true
            }
            _ => {
                let first = first_behind(received);
                let passed = self.passed_through.checked_sub(self.first);
                self.passed_through = passed.map_or(0, |items| items + first);
                self.first = first;
                self.sent = 0;
                self.given = 0;
                false
            }
        }
    }

    /// Number of the last delivery that a link was given.
    pub(crate) fn last_given(&self) -> DeliverySeq {
        DeliverySeq(self.first + self.given as u64 - 1)
    }
}

/// The number behind `received`, which is what a peer claims: numbers that could be exhausted are not believed.
fn first_behind(received: DeliverySeq) -> u64 {
    const HIGHEST_BELIEVED: u64 = u64::MAX >> 1;
    if received.0 > HIGHEST_BELIEVED {
        1
    } else {
        received.0 + 1
    }
}

#[cfg(test)]
mod tests;
