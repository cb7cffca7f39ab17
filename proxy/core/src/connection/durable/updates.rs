//! What storage is to be told of a session, in order, and what waits until it has been committed.
//!
//! At most one update of a session is on its way; what comes up meanwhile goes together with the next. Subscriptions go
//! in updates of their own: they are what a bound may refuse.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use freshet_mqtt::ReasonCode;
use freshet_storage_contract::{MonotonicMs, RequestId, SessionChange};

use crate::connection::subscribe::SubAckPart;
use crate::filters::FilterKey;

/// Changes of one session.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    pending: VecDeque<Batch>,
    under_way: Option<(RequestId, u32)>,
    last: u32,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Batch {
    number: u32,
    subscribes: bool,
    bytes: usize,
    changes: Vec<SessionChange>,
}

impl Batch {
    /// Whether a change goes with it. A cursor always does: it must not come later than the end of its exchanges, or they
    /// would begin again.
    fn takes(&self, change: &SessionChange) -> bool {
        match change {
            _ if self.changes.is_empty() => true,
            SessionChange::Subscribe(_) => self.subscribes && self.has_room_for(change),
            SessionChange::Advance(_) => !self.subscribes,
            _ => !self.subscribes && self.has_room_for(change),
        }
    }

    fn has_room_for(&self, change: &SessionChange) -> bool {
        self.bytes + charged_bytes(change) <= BATCH_BYTES
    }
}

/// Bytes of changes in one update: far below the largest operation that a stream takes.
const BATCH_BYTES: usize = 512 << 10;

fn charged_bytes(change: &SessionChange) -> usize {
    /// What a change costs beside its lists.
    const OVERHEAD_BYTES: usize = 64;
    OVERHEAD_BYTES
        + match change {
            SessionChange::Subscribe(subscription) => {
                subscription.topic_filter.len() + size_of_val(&subscription.starts[..])
            }
            SessionChange::Unsubscribe { topic_filter } => topic_filter.len(),
            SessionChange::Advance(cursor) => size_of_val(&cursor.beyond[..]),
            SessionChange::Sending { shared, message, .. } => {
                shared.as_ref().map_or(0, |name| name.len()) + message.as_ref().map_or(0, |m| m.charged_bytes())
            }
            SessionChange::Received { .. } | SessionChange::Completed { .. } => 0,
        }
}

#[derive(Debug)]
struct Waiting {
    batch: u32,
    since: MonotonicMs,
    held: Held,
}

/// What leaves when a change is committed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// One topic filter of a SUBACK.
    SubAck {
        suback: Option<SubAckPart>,
        key: FilterKey,
    },
    UnsubAck(NonZeroU16, Vec<ReasonCode>),
    PubRel(NonZeroU16),
    /// A PUBLISH of QoS 2 may be sent.
    Publish(NonZeroU16),
}

/// Answers that wait, beyond which none is added that need not wait.
const MAX_FOLLOWING: usize = 64;

impl Updates {
    /// Whether a change goes in another update than what was added before it.
    pub(crate) fn parts(&self, change: &SessionChange) -> bool {
        self.pending.back().is_some_and(|last| !last.takes(change))
    }

    /// Adds a change, and what waits for it.
    pub(crate) fn push(&mut self, change: SessionChange, held: Option<Held>, now: MonotonicMs) {
        let subscribes = matches!(change, SessionChange::Subscribe(_));
        let bytes = charged_bytes(&change);
        if !self.pending.back().is_some_and(|last| last.takes(&change)) {
            self.last = self.last.wrapping_add(1);
            self.pending.push_back(Batch {
                number: self.last,
                subscribes,
                bytes: 0,
                changes: Vec::new(),
            });
        }
        let Some(batch) = self.pending.back_mut() else { return };
        batch.subscribes = subscribes;
        batch.bytes += bytes;
        batch.changes.push(change);
        if let Some(held) = held {
            self.wait(held, now);
        }
    }

    /// Lets something wait for what was added last.
    pub(crate) fn wait(&mut self, held: Held, now: MonotonicMs) {
        self.waiting.push_back(Waiting {
            batch: self.last,
            since: now,
            held,
        });
    }

    /// The client is told of a session that begins: storage is to know, if by an update without changes.
    pub(crate) fn push_told(&mut self) {
        self.last = self.last.wrapping_add(1);
        self.pending.push_back(Batch {
            number: self.last,
            subscribes: false,
            bytes: 0,
            changes: Vec::new(),
        });
    }

    /// Lets the answer to an UNSUBSCRIBE that changes nothing wait behind those of earlier ones, which may have ended the
    /// very same subscriptions. False: there are none, or so much waits that this one does not.
    pub(crate) fn follow(&mut self, packet_id: NonZeroU16, codes: &[ReasonCode], now: MonotonicMs) -> bool {
        let unsubscribes = |waiting: &Waiting| matches!(waiting.held, Held::UnsubAck(..));
        let follows = self.waiting.len() < MAX_FOLLOWING && self.waiting.iter().any(unsubscribes);
        if follows {
            self.wait(Held::UnsubAck(packet_id, codes.to_vec()), now);
        }
        follows
    }

    /// Whether something is to be sent.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether somebody waits for what is to be sent, or may soon have been told what hangs on it.
    pub(crate) fn is_urgent(&self) -> bool {
        !self.waiting.is_empty() || self.pending.front().is_some_and(|next| next.changes.is_empty())
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The next update; it is on its way under the name `request`. To be called when none is.
    pub(crate) fn take_next(&mut self, request: RequestId) -> Option<Vec<SessionChange>> {
        let batch = self.pending.pop_front()?;
        self.under_way = Some((request, batch.number));
        Some(batch.changes)
    }

    /// Everything that was not sent, in order, for the end of the connection.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Vec<SessionChange>> {
        std::mem::take(&mut self.pending).into_iter().map(|batch| batch.changes)
    }

    /// Storage need not hear of a message any more that waits to be sent.
    pub(crate) fn withdraw_sending(&mut self, packet_id: NonZeroU16) {
        let is_it =
            |change: &SessionChange| matches!(change, SessionChange::Sending { packet_id: id, .. } if *id == packet_id);
        for batch in &mut self.pending {
            if let Some(at) = batch.changes.iter().position(is_it) {
                batch.changes.remove(at);
                return;
            }
        }
    }

    /// The update on its way was answered. Returns what waited for it, in order.
    pub(crate) fn answered(&mut self, request: RequestId) -> Vec<Held> {
        let Some((_, number)) = self.under_way.take_if(|(id, _)| *id == request) else {
            return Vec::new();
        };
        // Numbers wrap around: none in front of this one is far away.
        let is_due = |waiting: &Waiting| number.wrapping_sub(waiting.batch) < u32::MAX / 2;
        let count = self.waiting.iter().take_while(|w| is_due(w)).count();
        self.waiting.drain(..count).map(|waiting| waiting.held).collect()
    }

    /// Whether this waits.
    pub(crate) fn holds(&self, held: &Held) -> bool {
        self.waiting.iter().any(|waiting| waiting.held == *held)
    }

    /// Whether a subscription to the filter waits.
    pub(crate) fn holds_subscription(&self, filter: FilterKey) -> bool {
        let is_it = |waiting: &Waiting| matches!(waiting.held, Held::SubAck { key, .. } if key == filter);
        self.waiting.iter().any(is_it)
    }

    /// Since when the oldest answer waits.
    pub(crate) fn oldest(&self) -> Option<MonotonicMs> {
        self.waiting.front().map(|waiting| waiting.since)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_storage_contract::{StoredSubscription, SubscriptionOptions};

    use super::*;
    use crate::filters::FilterTable;

    const NOW: MonotonicMs = MonotonicMs(1);

    fn id(value: u16) -> NonZeroU16 {
        NonZeroU16::new(value).unwrap()
    }

    fn received(packet_id: u16) -> SessionChange {
        SessionChange::Received {
            packet_id: id(packet_id),
        }
    }

    fn subscribe() -> SessionChange {
        SessionChange::Subscribe(StoredSubscription {
            topic_filter: Bytes::from_static(b"a"),
            options: SubscriptionOptions::default(),
            subscription_identifier: None,
            starts: Vec::new(),
        })
    }

    #[test]
    fn what_comes_up_while_an_update_is_on_its_way_goes_with_the_next() {
        let mut updates = Updates::default();
        updates.push(received(1), Some(Held::PubRel(id(1))), NOW);
        assert_eq!(updates.take_next(RequestId(1)).map(|c| c.len()), Some(1));
        updates.push(received(2), Some(Held::PubRel(id(2))), NOW);
        updates.push(received(3), Some(Held::PubRel(id(3))), NOW);
        assert_eq!(updates.answered(RequestId(1)), [Held::PubRel(id(1))]);
        assert!(updates.answered(RequestId(1)).is_empty());
        assert_eq!(updates.take_next(RequestId(2)).map(|c| c.len()), Some(2));
        assert_eq!(
            updates.answered(RequestId(2)),
            [Held::PubRel(id(2)), Held::PubRel(id(3))]
        );
    }

    #[test]
    fn very_many_changes_go_in_several_updates() {
        let mut updates = Updates::default();
        let long = |n: u32| SessionChange::Unsubscribe {
            topic_filter: Bytes::from(format!("{n}").repeat(1_000)),
        };
        (1_000..1_500).for_each(|n| updates.push(long(n), None, NOW));
        let sizes: Vec<_> = updates.take_all().map(|changes| changes.len()).collect();
        assert!(sizes.len() > 3 && sizes.iter().sum::<usize>() == 500, "{sizes:?}");
    }

    #[test]
    fn that_the_client_was_told_goes_with_whatever_comes_up_before_it_is_sent() {
        let key = FilterTable::new((1, 2)).want(b"a");
        for (change, held) in [
            (received(1), None),
            (subscribe(), Some(Held::SubAck { suback: None, key })),
        ] {
            let mut updates = Updates::default();
            updates.push_told();
            assert!(updates.is_urgent(), "what the client does next may hang on it");
            updates.push(change, held, NOW);
            assert_eq!(updates.take_next(RequestId(1)).map(|c| c.len()), Some(1));
            updates.answered(RequestId(1));
            assert!(!updates.has_pending());
        }
        let mut updates = Updates::default();
        updates.push_told();
        assert_eq!(updates.take_next(RequestId(1)), Some(Vec::new()));
        assert!(!updates.is_urgent());
    }

    #[test]
    fn a_subscription_goes_alone_and_in_its_place() {
        let mut updates = Updates::default();
        let key = FilterTable::new((1, 2)).want(b"a");
        updates.push(received(1), None, NOW);
        updates.push(subscribe(), Some(Held::SubAck { suback: None, key }), NOW);
        updates.push(received(2), None, NOW);
        let sizes: Vec<_> = (1..)
            .map_while(|n| {
                let size = updates.take_next(RequestId(n))?.len();
                Some((size, updates.answered(RequestId(n)).len()))
            })
            .collect();
        assert_eq!(sizes, [(1, 0), (1, 1), (1, 0)]);
    }
}
