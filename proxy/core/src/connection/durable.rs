//! What a session that outlives its connection has beside the others: its place in what is queued for it, its
//! exchanges, and what storage is still to be told.
//!
//! Storage keeps the session; this is the part that its connection needs, and what has changed since storage heard
//! last. Sessions that end with their connection have none of it.

mod cursor;
mod reading;
mod registering;
mod releases;
mod restoring;
mod telling;
mod updates;

use std::num::NonZeroU16;

use bytes::Bytes;
use foldhash::fast::FixedState;
use freshet_mqtt::QoS;
use freshet_storage_contract::{
    Cursor as StoredCursor, MonotonicMs, Position, SessionChange, SessionEpoch, ShardId, StoredSession,
    StoredSubscription, SubscriptionStart,
};
use hashbrown::HashMap;

use self::cursor::Cursor;
use self::releases::Releases;
use self::restoring::Restoring;
use self::updates::Updates;
use crate::filters::FilterKey;

pub(crate) use self::cursor::Mode;
pub(crate) use self::reading::SessionRead;
pub(crate) use self::updates::Held;

/// Where a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) shard: ShardId,
    pub(crate) position: Position,
}

/// A packet id towards the client that is taken.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) place: Place,
    /// The shared subscription that it came by.
    shared: Option<Bytes>,
    qos: QoS,
    /// PUBLISH was written, on this connection or an earlier one.
    is_sent: bool,
    /// Storage has committed it; at QoS 1, which need not wait for that, it is told.
    is_stored: bool,
    /// PUBREC has arrived.
    is_received: bool,
}

impl Exchange {
    /// Whether PUBLISH leaves no earlier than storage knows of it: the client remembers a packet id of QoS 2, and what is
    /// kept nowhere else could not be sent again.
    fn waits_for_storage(&self) -> bool {
        self.qos == QoS::ExactlyOnce || self.place.position == Position::default()
    }
}

/// How soon storage is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Telling {
    /// There is nothing to tell, or an update is on its way.
    #[default]
    Nothing,
    /// Nobody waits for it.
    Soon,
    /// At the end of the turn.
    Now,
}

/// State of a session that outlives its connection.
#[derive(Debug)]
pub(crate) struct Durable {
    /// Epoch at which the session began.
    pub(crate) generation: SessionEpoch,
    /// Shard of the client id.
    pub(crate) shard: ShardId,
    /// Session Expiry Interval that was granted, in seconds.
    expiry_s: u32,
    /// Storage had it before this connection.
    pub(crate) is_resumed: bool,
    /// In order of shards.
    cursors: Vec<Cursor>,
    /// Filters that are queued for it, and since when at each of their shards.
    readers: HashMap<FilterKey, Vec<SubscriptionStart>, FixedState>,
    /// Shared subscriptions, and since when at each of their shards. They have queues of their own.
    groups: HashMap<FilterKey, Vec<SubscriptionStart>, FixedState>,
    exchanges: HashMap<NonZeroU16, Exchange, FixedState>,
    updates: Updates,
    pub(crate) releases: Releases,
    restoring: Option<Box<Restoring>>,
    /// Messages are queued that have no packet id, and need one that storage knows.
    wants_ids: bool,
    /// What the worker's list of those to be asked says.
    pub(crate) telling: Telling,
}

impl Durable {
    /// A session that begins with its connection.
    pub(crate) fn begin(epoch: SessionEpoch, shard: ShardId, expiry_s: u32) -> Self {
        Self {
            generation: epoch,
            shard,
            expiry_s,
            is_resumed: false,
            cursors: Vec::new(),
            readers: HashMap::default(),
            groups: HashMap::default(),
            exchanges: HashMap::default(),
            updates: Updates::default(),
            releases: Releases::default(),
            restoring: None,
            wants_ids: false,
            telling: Telling::Nothing,
        }
    }

    /// A session that comes back. Its subscriptions are added with [`Self::begin_at`].
    pub(crate) fn resume(stored: &StoredSession, shard: ShardId, expiry_s: u32) -> Self {
        let mut durable = Self {
            is_resumed: true,
            ..Self::begin(stored.generation, shard, expiry_s)
        };
        let is_group = |s: &&StoredSubscription| s.topic_filter.starts_with(b"$share/");
        let own = stored.subscriptions.iter().filter(|s| !is_group(s));
        let starts = own.flat_map(|s| &s.starts).map(|s| s.shard);
        let mut shards: Vec<_> = starts.chain(stored.cursors.iter().map(|c| c.shard)).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            // A group has a queue of its own: what came by it may still come by another filter.
            let own = stored.outbound.iter().filter(|e| e.shared.is_none());
            let sent = own.filter(|e| e.shard == shard).map(|e| e.position);
            let cursor = match stored.cursors.iter().find(|c| c.shard == shard) {
                Some(stored) => Cursor::resume(stored, sent),
                None => {
                    let nothing = StoredCursor {
                        shard,
                        acknowledged: Position::default(),
                        beyond: Vec::new(),
                    };
                    Cursor::resume(&nothing, sent)
                }
            };
            durable.cursors.push(cursor);
        }
        durable
    }

    /// A subscription begins at a shard. Of one that has begun there the first start counts.
    pub(crate) fn begin_at(&mut self, key: FilterKey, start: SubscriptionStart) {
        let starts = self.readers.entry(key).or_default();
        if starts.iter().any(|known| known.shard == start.shard) {
            return;
        }
        starts.push(start);
        starts.sort_unstable_by_key(|start| start.shard);
        match self.cursors.binary_search_by_key(&start.shard, |c| c.shard) {
            Ok(at) => {
                if let Some(cursor) = self.cursors.get_mut(at) {
                    cursor.add_start(start.position);
                }
            }
            Err(at) => self.cursors.insert(at, Cursor::begin(start.shard, start.position)),
        }
    }

    /// A shared subscription begins at a shard.
    pub(crate) fn begin_group_at(&mut self, key: FilterKey, start: SubscriptionStart) {
        let starts = self.groups.entry(key).or_default();
        if !starts.iter().any(|known| known.shard == start.shard) {
            starts.push(start);
            starts.sort_unstable_by_key(|start| start.shard);
        }
    }

    /// Whether the filter is queued for the session, or is about to be.
    pub(crate) fn reads(&self, key: FilterKey) -> bool {
        self.readers.contains_key(&key) || self.groups.contains_key(&key)
    }

    /// Whether storage has not said yet that it keeps the subscription as it is.
    pub(crate) fn is_committing(&self, key: FilterKey) -> bool {
        self.updates.holds_subscription(key)
    }

    /// Where the filter begins.
    pub(crate) fn starts(&self, key: FilterKey) -> &[SubscriptionStart] {
        let starts = self.readers.get(&key).or_else(|| self.groups.get(&key));
        starts.map(Vec::as_slice).unwrap_or_default()
    }

    /// The place of the session at a shard, if it reads there.
    pub(crate) fn cursor_mut(&mut self, shard: ShardId) -> Option<&mut Cursor> {
        let at = self.cursors.binary_search_by_key(&shard, |c| c.shard).ok()?;
        self.cursors.get_mut(at)
    }

    /// A queued message is not sent after all.
    pub(crate) fn skip(&mut self, place: Place) {
        if let Some(cursor) = self.cursor_mut(place.shard) {
            cursor.skip(place.position);
        }
    }

    /// A message was queued that needs a packet id which storage knows.
    pub(crate) fn want_id(&mut self) {
        self.wants_ids = true;
    }

    /// A PUBLISH is written. `place`: none, when the message is kept nowhere.
    pub(crate) fn sent(&mut self, packet_id: NonZeroU16, qos: QoS, place: Option<Place>) {
        match (self.exchanges.get_mut(&packet_id), place) {
            (Some(exchange), _) => exchange.is_sent = true,
            (None, Some(place)) => {
                let exchange = Exchange {
                    place,
                    shared: None,
                    qos,
                    is_sent: true,
                    is_stored: false,
                    is_received: false,
                };
                self.exchanges.insert(packet_id, exchange);
            }
            (None, None) => {}
        }
    }

    /// Whether a PUBLISH with this packet id may be sent.
    pub(crate) fn may_send(&self, packet_id: NonZeroU16) -> bool {
        let exchange = self.exchanges.get(&packet_id);
        exchange.is_none_or(|e| e.is_stored || !e.waits_for_storage())
    }

    /// A message of a shared subscription that storage has not been told of as this session's goes to another member.
    pub(crate) fn give_back(&mut self, packet_id: NonZeroU16) {
        self.updates.withdraw_sending(packet_id);
        self.exchanges.remove(&packet_id);
    }

    /// The exchange has ended.
    pub(crate) fn finish(&mut self, packet_id: NonZeroU16, now: MonotonicMs) {
        let Some(exchange) = self.exchanges.remove(&packet_id) else {
            return;
        };
        // A group has a queue of its own; another copy of the message may be the session's by another filter.
        if exchange.shared.is_none()
            && let Some(cursor) = self.cursor_mut(exchange.place.shard)
        {
            cursor.done(exchange.place.position);
        }
        // What was reserved and not committed is on its way to storage, too.
        if exchange.is_stored || exchange.waits_for_storage() {
            self.push(SessionChange::Completed { packet_id }, None, now);
        }
    }

    /// PUBREC has arrived. False: nothing has to be committed before PUBREL.
    pub(crate) fn receive(&mut self, packet_id: NonZeroU16, now: MonotonicMs) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&packet_id) else {
            return false;
        };
        if !std::mem::replace(&mut exchange.is_received, true) {
            let received = SessionChange::Received { packet_id };
            self.push(received, Some(Held::PubRel(packet_id)), now);
        }
        // A repeated PUBREC is answered when the first one is, or again.
        self.updates.holds(&Held::PubRel(packet_id))
    }

    /// How soon storage is to be told of what has changed; `has_room`: the client's window has.
    pub(crate) fn urgency(&self, has_room: bool) -> Telling {
        if self.updates.is_under_way() {
            Telling::Nothing
        } else if (self.wants_ids && has_room) || (self.updates.is_urgent() && self.updates.has_pending()) {
            Telling::Now
        } else if self.updates.has_pending() || self.cursors.iter().any(Cursor::is_changed) {
            Telling::Soon
        } else {
            Telling::Nothing
        }
    }

    /// Since when an answer waits for storage.
    pub(crate) fn oldest(&self) -> Option<MonotonicMs> {
        self.updates.oldest().into_iter().chain(self.releases.oldest()).min()
    }

    /// Whether no answer waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.oldest().is_none()
    }
}
