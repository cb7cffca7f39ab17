//! One pass over the history: every event finds its connection, its session and its publication.

use std::collections::BTreeMap;

use super::{Connection, Delivery, Index, Publication, RetainedWrite, Session, Subscription};
use crate::history::{ConnectionNumber, History, Line, Message, What};

/// How long after a client has hung up its will may be published, in microseconds. A broker to which something is
/// done within this time may publish it or not.
const WILL_AFTER_US: u64 = 3_000_000;

/// What stands behind a packet id.
#[derive(Debug, Clone, Copy)]
enum Sent<'h> {
    Publication(&'h Message),
    Clear { topic: &'h str, write: usize },
    Subscription(usize),
    Unsubscription(&'h str),
}

/// A PUBLISH of a client.
struct Publishing<'h> {
    packet_id: u16,
    topic: &'h str,
    message: Option<&'h Message>,
    qos: u8,
    retain: bool,
    dup: bool,
}

/// What is known while the history is read.
struct Builder<'h> {
    index: Index<'h>,
    /// The present session and connection of a client id.
    current: BTreeMap<&'h str, (usize, ConnectionNumber)>,
    sent: BTreeMap<(ConnectionNumber, u16), Sent<'h>>,
    /// QoS 2 packet ids that a session has and that are not released.
    taken: BTreeMap<(usize, u16), Option<&'h Message>>,
}

pub(super) fn build(history: &History) -> Index<'_> {
    let mut builder = Builder {
        index: Index {
            history,
            connections: BTreeMap::new(),
            sessions: Vec::new(),
            publications: BTreeMap::new(),
            retained: BTreeMap::new(),
            trouble: Vec::new(),
            reused_packet_ids: Vec::new(),
        },
        current: BTreeMap::new(),
        sent: BTreeMap::new(),
        taken: BTreeMap::new(),
    };
    for (line, event) in history.events.iter().enumerate() {
        builder.read(line, event.connection, &event.what);
    }
    builder.add_wills();
    builder.index
}

impl<'h> Builder<'h> {
    fn read(&mut self, line: Line, connection: ConnectionNumber, what: &'h What) {
        self.read_connection(line, connection, what);
        match what {
            What::Publishing {
                packet_id,
                topic,
                message,
                qos,
                retain,
                dup,
            } => {
                let publishing = Publishing {
                    packet_id: *packet_id,
                    topic,
                    message: message.as_ref(),
                    qos: *qos,
                    retain: *retain,
                    dup: *dup,
                };
                let sent = self.publishing(line, connection, &publishing);
                self.sent.insert((connection, *packet_id), sent);
            }
            What::PubAck { packet_id, reason } | What::PubRec { packet_id, reason } if *reason < 0x80 => {
                self.acknowledged(line, connection, *packet_id);
            }
            What::Received {
                packet_id,
                topic,
                message,
                qos,
                retain,
                ..
            } => {
                let delivery = Delivery {
                    line,
                    topic,
                    message: message.as_ref(),
                    qos: *qos,
                    retain: *retain,
                };
                self.received(connection, *packet_id, delivery);
            }
            What::Released { packet_id } => {
                if let Some(session) = self.session_if_current(connection, line) {
                    self.taken.remove(&(session, *packet_id));
                }
            }
            What::Subscribing { packet_id, filter, qos } => {
                if let Some(session) = self.session_of(connection) {
                    let subscriptions = &mut session.subscriptions;
                    subscriptions.push(Subscription {
                        filter,
                        qos: *qos,
                        connection,
                        asked: line,
                        acknowledged: None,
                        unsubscribing: None,
                        unsubscribed: None,
                    });
                    let sent = Sent::Subscription(subscriptions.len() - 1);
                    self.sent.insert((connection, *packet_id), sent);
                }
            }
            What::SubAck { packet_id, granted } => self.subscribed(line, connection, *packet_id, *granted),
            What::Unsubscribing { packet_id, filter } => {
                let sent = Sent::Unsubscription(filter);
                self.sent.insert((connection, *packet_id), sent);
                for subscription in self.subscriptions_to(connection, filter) {
                    subscription.unsubscribing.get_or_insert(line);
                }
            }
            What::UnsubAck { packet_id } => {
                if let Some(Sent::Unsubscription(filter)) = self.sent.remove(&(connection, *packet_id)) {
                    // One that was asked for since, on the next connection of the session, goes on.
                    for subscription in self.subscriptions_to(connection, filter) {
                        if subscription.unsubscribing.is_some() {
                            subscription.unsubscribed.get_or_insert(line);
                        }
                    }
                }
            }
            What::Killed { .. }
            | What::Terminated { .. }
            | What::Paused { .. }
            | What::Continued { .. }
            | What::Started => self.index.trouble.push(line),
            _ => {}
        }
    }

    fn read_connection(&mut self, line: Line, number: ConnectionNumber, what: &'h What) {
        if let What::Connecting {
            client_id,
            clean_start,
            expiry_s,
            will,
            ..
        } = what
        {
            let opened = Connection {
                number,
                client_id,
                opening: line,
                clean_start: *clean_start,
                expiry_s: *expiry_s,
                will: will.as_ref(),
                accepted: None,
                disconnecting: None,
                hung_up: None,
                closed: None,
                superseded: None,
                at_rest: None,
                last_heard: line,
                session: None,
            };
            self.index.connections.insert(number, opened);
        }
        if let What::Connected { session_present } = what {
            self.connected(line, number, *session_present);
        }
        let Some(connection) = self.index.connections.get_mut(&number) else {
            return;
        };
        match what {
            What::Disconnecting => connection.disconnecting = Some(line),
            What::HungUp => connection.hung_up = Some(line),
            What::Closed { reason } => connection.closed = Some((line, *reason)),
            What::AtRest => {
                connection.at_rest = Some(line);
                let session = connection.session.and_then(|at| self.index.sessions.get_mut(at));
                if let Some(session) = session {
                    session.is_at_rest = true;
                }
            }
            What::Connected { .. }
            | What::PubAck { .. }
            | What::PubRec { .. }
            | What::PubComp { .. }
            | What::Received { .. }
            | What::Released { .. }
            | What::SubAck { .. }
            | What::UnsubAck { .. }
            | What::Pinged => connection.last_heard = line,
            _ => {}
        }
    }

    fn connected(&mut self, line: Line, number: ConnectionNumber, session_present: bool) {
        let Some(client_id) = self.index.connections.get(&number).map(|c| c.client_id) else {
            return;
        };
        let before = self.current.get(client_id).copied();
        let session = match before {
            Some((session, _)) if session_present => session,
            _ => {
                self.index.sessions.push(Session {
                    client_id,
                    subscriptions: Vec::new(),
                    deliveries: Vec::new(),
                    is_at_rest: false,
                });
                self.index.sessions.len() - 1
            }
        };
        if let Some((_, old)) = before
            && let Some(old) = self.index.connections.get_mut(&old)
            && old.ended().is_none()
        {
            old.superseded = Some(line);
        }
        if let Some(connection) = self.index.connections.get_mut(&number) {
            connection.accepted = Some((line, session_present));
            connection.session = Some(session);
        }
        self.current.insert(client_id, (session, number));
    }

    fn publishing(&mut self, line: Line, connection: ConnectionNumber, what: &Publishing<'h>) -> Sent<'h> {
        if let Some(message) = what.message {
            self.index.publications.entry(message).or_insert(Publication {
                sent: line,
                connection,
                qos: what.qos,
                retain: what.retain,
                acknowledged: None,
                is_will: false,
            });
        }
        let writes = self.index.retained.entry(what.topic).or_default();
        let client_id = self.index.connections.get(&connection).map_or("", |c| c.client_id);
        // What clears has no name but its packet id.
        let is_it = |write: &RetainedWrite<'_>| {
            write.value == what.message
                && write.client_id == client_id
                && write.packet_id == what.packet_id
                && write.acknowledged.is_none()
        };
        let before = writes.iter().rposition(is_it).filter(|_| what.dup);
        if let Some(write) = before.and_then(|at| writes.get_mut(at)) {
            write.repeated = line;
        } else if what.retain {
            writes.push(RetainedWrite {
                value: what.message,
                client_id,
                packet_id: what.packet_id,
                sent: line,
                repeated: line,
                acknowledged: None,
            });
        }
        match what.message {
            Some(message) => Sent::Publication(message),
            None => Sent::Clear {
                topic: what.topic,
                write: before.unwrap_or(writes.len().saturating_sub(1)),
            },
        }
    }

    fn acknowledged(&mut self, line: Line, connection: ConnectionNumber, packet_id: u16) {
        match self.sent.get(&(connection, packet_id)).copied() {
            Some(Sent::Publication(message)) => {
                if let Some(publication) = self.index.publications.get_mut(message) {
                    publication.acknowledged.get_or_insert(line);
                }
                let writes = self.index.retained.get_mut(message.topic.as_str());
                let write = writes.and_then(|w| w.iter_mut().find(|w| w.value == Some(message)));
                if let Some(write) = write {
                    write.acknowledged.get_or_insert(line);
                }
            }
            Some(Sent::Clear { topic, write }) => {
                let write = self.index.retained.get_mut(topic).and_then(|w| w.get_mut(write));
                if let Some(write) = write {
                    write.acknowledged.get_or_insert(line);
                }
            }
            _ => {}
        }
    }

    fn subscribed(&mut self, line: Line, connection: ConnectionNumber, packet_id: u16, granted: u8) {
        let Some(Sent::Subscription(at)) = self.sent.remove(&(connection, packet_id)) else {
            return;
        };
        if let Some(subscription) = self.session_of(connection).and_then(|s| s.subscriptions.get_mut(at)) {
            subscription.qos = granted;
            subscription.acknowledged = Some(line);
        }
    }

    fn received(&mut self, connection: ConnectionNumber, packet_id: Option<u16>, delivery: Delivery<'h>) {
        let Some(session) = self.session_if_current(connection, delivery.line) else {
            return;
        };
        if let (2, Some(packet_id)) = (delivery.qos, packet_id)
            && let Some(before) = self.taken.insert((session, packet_id), delivery.message)
        {
            match delivery.message {
                Some(message) if before != delivery.message => {
                    let reused = (connection, delivery.line, message);
                    self.index.reused_packet_ids.push(reused);
                }
                // The client has it, and answers again.
                _ => return,
            }
        }
        if let Some(session) = self.index.sessions.get_mut(session) {
            session.deliveries.push(delivery);
        }
    }

    /// The session of a connection, unless another connection has been let in for it.
    fn session_if_current(&self, connection: ConnectionNumber, line: Line) -> Option<usize> {
        let connection = self.index.connections.get(&connection)?;
        connection.session.filter(|_| !connection.is_superseded_at(line))
    }

    fn session_of(&mut self, connection: ConnectionNumber) -> Option<&mut Session<'h>> {
        let at = self.index.connections.get(&connection)?.session?;
        self.index.sessions.get_mut(at)
    }

    fn subscriptions_to(
        &mut self,
        connection: ConnectionNumber,
        filter: &'h str,
    ) -> impl Iterator<Item = &mut Subscription<'h>> {
        let session = self.session_of(connection);
        session
            .into_iter()
            .flat_map(|session| &mut session.subscriptions)
            .filter(move |subscription| subscription.filter == filter)
    }

    /// Wills are publications, too: sent with CONNECT, and due when the client has hung up on a broker that nothing is
    /// done to.
    fn add_wills(&mut self) {
        let index = &self.index;
        let mut wills = Vec::new();
        for connection in index.connections.values() {
            let Some(will) = connection.will else { continue };
            let is_due = |line: &Line| {
                let until_us = index.at_us(*line) + WILL_AFTER_US;
                connection.accepted.is_some()
                    && connection.disconnecting.is_none()
                    && connection.superseded.is_none()
                    && connection.closed.is_none_or(|(closed, _)| closed > *line)
                    && !index.has_trouble(index.at_us(connection.opening), until_us)
            };
            let publication = Publication {
                sent: connection.opening,
                connection: connection.number,
                qos: will.qos,
                retain: false,
                acknowledged: connection.hung_up.filter(is_due),
                is_will: true,
            };
            wills.push((&will.message, publication));
        }
        self.index.publications.extend(wills);
    }
}
