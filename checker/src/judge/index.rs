//! The history by what it is about: connections, sessions with what they were subscribed to and given, publications.
//!
//! Built once in one pass; the rules read it. Leaves out every judgement but one: which deliveries a client passes over,
//! because the connection was taken over or the packet id is one that it has already.

mod build;

use std::collections::BTreeMap;

use super::matching::matches;
use crate::history::{ConnectionNumber, History, Line, Message, What, WillSaid};

/// A history by what it is about.
#[derive(Debug)]
pub(super) struct Index<'h> {
    pub(super) history: &'h History,
    pub(super) connections: BTreeMap<ConnectionNumber, Connection<'h>>,
    pub(super) sessions: Vec<Session<'h>>,
    pub(super) publications: BTreeMap<&'h Message, Publication>,
    /// By topic, all that was published with RETAIN, in the order in which it was sent.
    pub(super) retained: BTreeMap<&'h str, Vec<RetainedWrite<'h>>>,
    /// Where something was done to the broker.
    pub(super) trouble: Vec<Line>,
    /// A packet id that came with another message before it was released.
    pub(super) reused_packet_ids: Vec<(ConnectionNumber, Line, &'h Message)>,
}

/// An attempt to connect, and what came of it.
#[derive(Debug)]
pub(super) struct Connection<'h> {
    pub(super) number: ConnectionNumber,
    pub(super) client_id: &'h str,
    pub(super) opening: Line,
    pub(super) clean_start: bool,
    pub(super) expiry_s: u32,
    pub(super) will: Option<&'h WillSaid>,
    /// CONNACK, and its session present.
    pub(super) accepted: Option<(Line, bool)>,
    pub(super) disconnecting: Option<Line>,
    pub(super) hung_up: Option<Line>,
    pub(super) closed: Option<(Line, Option<u8>)>,
    /// The CONNACK of the connection that took it over.
    pub(super) superseded: Option<Line>,
    pub(super) at_rest: Option<Line>,
    /// The last time the client heard anything on it.
    pub(super) last_heard: Line,
    /// Index of its session.
    pub(super) session: Option<usize>,
}

/// What lives from a CONNACK without session present to the next one.
#[derive(Debug)]
pub(super) struct Session<'h> {
    pub(super) client_id: &'h str,
    pub(super) subscriptions: Vec<Subscription<'h>>,
    /// Those that the client did not pass over.
    pub(super) deliveries: Vec<Delivery<'h>>,
    /// Its client was connected when all had come to rest.
    pub(super) is_at_rest: bool,
}

/// A SUBSCRIBE, and what became of it.
#[derive(Debug)]
pub(super) struct Subscription<'h> {
    pub(super) filter: &'h str,
    /// What was asked for, then what was granted.
    pub(super) qos: u8,
    pub(super) connection: ConnectionNumber,
    pub(super) asked: Line,
    pub(super) acknowledged: Option<Line>,
    pub(super) unsubscribing: Option<Line>,
    pub(super) unsubscribed: Option<Line>,
}

/// A PUBLISH that a client took.
#[derive(Debug)]
pub(super) struct Delivery<'h> {
    pub(super) line: Line,
    pub(super) topic: &'h str,
    pub(super) message: Option<&'h Message>,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// A message, and how far it got.
#[derive(Debug)]
pub(super) struct Publication {
    /// First sent here. A will: the CONNECT that has it.
    pub(super) sent: Line,
    pub(super) connection: ConnectionNumber,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Taken over by the broker: PUBACK or PUBREC without an error. A will: when it had to be published.
    pub(super) acknowledged: Option<Line>,
    pub(super) is_will: bool,
}

/// Something published with RETAIN.
#[derive(Debug)]
pub(super) struct RetainedWrite<'h> {
    /// None: it clears the topic.
    pub(super) value: Option<&'h Message>,
    pub(super) client_id: &'h str,
    pub(super) packet_id: u16,
    pub(super) sent: Line,
    /// When it was sent for the last time: what is repeated may be done again.
    pub(super) repeated: Line,
    pub(super) acknowledged: Option<Line>,
}

impl Connection<'_> {
    /// Where the client knew that it was over.
    pub(super) fn ended(&self) -> Option<Line> {
        let closed = self.closed.map(|(line, _)| line);
        self.hung_up.into_iter().chain(closed).min()
    }

    /// Whether another connection had been let in in its place.
    pub(super) fn is_superseded_at(&self, line: Line) -> bool {
        self.superseded.is_some_and(|at| at < line)
    }
}

impl Session<'_> {
    /// Subscriptions that were confirmed before a line and that nobody has ended, at QoS 1 or 2.
    pub(super) fn surely_wants(&self, topic: &str, before: Line) -> Option<&Subscription<'_>> {
        self.subscriptions.iter().find(|s| {
            (1..=2).contains(&s.qos)
                && s.acknowledged.is_some_and(|line| line < before)
                && s.unsubscribing.is_none()
                && matches(s.filter, topic)
        })
    }
}

impl Index<'_> {
    /// The history by what it is about.
    pub(super) fn of(history: &History) -> Index<'_> {
        build::build(history)
    }

    /// When a line happened.
    pub(super) fn at_us(&self, line: Line) -> u64 {
        self.history.events.get(line).map_or(0, |event| event.at_us)
    }

    /// Whether something was done to the broker between two times, in microseconds, or it was still away from before.
    pub(super) fn has_trouble(&self, from_us: u64, to_us: u64) -> bool {
        let before = self.trouble.iter().take_while(|line| self.at_us(**line) < from_us);
        let is_away = |line: &Line| {
            let what = self.history.events.get(*line).map(|event| &event.what);
            !matches!(what, Some(What::Started | What::Continued { .. }))
        };
        before.last().is_some_and(is_away)
            || self
                .trouble
                .iter()
                .any(|line| (from_us..=to_us).contains(&self.at_us(*line)))
    }

    /// Clients whose last session was to outlive its connection, and who are not connected at the end.
    pub(super) fn away_at_rest(&self) -> impl Iterator<Item = &str> {
        let mut last: BTreeMap<&str, &Connection<'_>> = BTreeMap::new();
        for connection in self.connections.values() {
            last.insert(connection.client_id, connection);
        }
        let is_away = |c: &&Connection<'_>| c.expiry_s > 0 && c.at_rest.is_none();
        last.into_values().filter(is_away).map(|c| c.client_id)
    }

    /// The client of a connection.
    pub(super) fn client_of(&self, connection: ConnectionNumber) -> String {
        let client = self.connections.get(&connection).map(|c| c.client_id);
        client.unwrap_or("(unknown)").to_owned()
    }
}
