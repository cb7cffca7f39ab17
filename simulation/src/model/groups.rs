//! Shared subscriptions (MQTT 5.0, 4.8.2): a message is given to one member of each group, and is not lost while some
//! member is there to take it.
//!
//! What a member has not acknowledged at QoS 1 when it goes is another one's; what it was sent at QoS 2 is nobody else's
//! ([`is_final`]). That each group has one final delivery at most is judged with the other copies (`super::delivery`).

use freshet_mqtt::QoS;

use super::complete::{may_be_too_large, routed_until};
use super::subscriptions::{Shared, shared, shares};
use crate::history::{At, Broken, Connection, Delivery, History, Message, Request};
use crate::violation::Violation;

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    // Of a session that the model does not know, nobody knows whether it has taken a message.
    if history.sessions.iter().any(|session| session.is_unknown) {
        return Ok(());
    }
    for (number, message) in history.messages.iter().enumerate() {
        let forgotten = history.has_broken(|b| b == Broken::Storage, message.sent, At::MAX);
        if message.is_will || !message.qos.is_acknowledged() || message.expiry_s.is_some() || forgotten {
            continue;
        }
        if routed_until(history, message).is_some() {
            reaches_each_group(history, number, message)?;
        }
    }
    Ok(())
}

/// Whether nobody else is to be given what a member was given.
pub(super) fn is_final(history: &History, number: usize, delivery: &Delivery) -> bool {
    let (Some(message), Some(connection)) = (
        history.messages.get(number),
        history.connections.get(delivery.connection),
    ) else {
        return true;
    };
    // Storage may not have heard from its proxy what became of the message.
    let is_told = !history.has_broken(|b| concerns(b, connection.proxy), 0, At::MAX);
    match delivery.qos {
        QoS::AtMostOnce => message.qos == QoS::AtMostOnce || is_told,
        QoS::AtLeastOnce => {
            let is_heard = connection.is_alive() || connection.all_read.is_some();
            delivery.is_acknowledged && is_heard && is_told && !has_left(history, message, delivery)
        }
        // Of a session that outlives its connection storage knows before the message is sent.
        QoS::ExactlyOnce => connection.expiry_s > 0 || is_told,
    }
}

/// Whether a member has unsubscribed since a message was sent, or was about to: it may have left it unacknowledged until then.
fn has_left(history: &History, message: &Message, delivery: &Delivery) -> bool {
    let is_later = |r: &Request| r.answered.is_none_or(|answered| answered.at > message.sent);
    let leaves = |r: &Request| r.options.is_none() && is_later(r) && shares(r.filter, message.topic);
    let session = history.session_of(delivery.connection);
    session.is_none_or(|session| history.requests_of(session).any(leaves))
}

/// Whether something broke that storage has with a proxy.
fn concerns(broken: Broken, proxy: usize) -> bool {
    match broken {
        Broken::Streams { proxy: of } | Broken::Lease { proxy: of } | Broken::Proxy { proxy: of } => of == proxy,
        Broken::Storage | Broken::StorageRestarted => true,
        Broken::StreamsBlocked { .. } | Broken::StreamsMended { .. } => false,
    }
}

fn reaches_each_group(history: &History, number: usize, message: &Message) -> Result<(), Violation> {
    let of_session = |session| shared(history, session, message.topic, message.sent, At::MAX);
    let members: Vec<(usize, Shared<'_>)> = (0..history.sessions.len())
        .flat_map(|session| of_session(session).into_iter().map(move |shared| (session, shared)))
        .collect();
    let mut groups: Vec<&str> = members.iter().map(|(_, shared)| shared.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let of_group = || members.iter().filter(|(_, shared)| shared.group == group);
        let mut receivers = of_group().filter(|(session, shared)| is_certain_receiver(history, *session, shared));
        let Some((receiver, _)) = receivers.next() else {
            continue;
        };
        let may_lose = |(session, shared): &(usize, Shared<'_>)| {
            *session != *receiver && shared.is_possible() && may_lose(history, message, *session, shared)
        };
        let is_too_large = |(session, _): &(usize, Shared<'_>)| {
            connections_of(history, *session).any(|c| may_be_too_large(history, c.identity, message))
        };
        if of_group().any(may_lose) || of_group().any(is_too_large) {
            continue;
        }
        let may_be_it = |d: &Delivery| match d.message {
            Some(delivered) => delivered == number,
            None => message.empty && d.topic == message.topic && d.at > message.sent,
        };
        let is_member = |d: &Delivery| {
            let session = history.session_of(d.connection);
            let mut requests = history.requests.iter().filter(|r| r.filter == group);
            session.is_some_and(|s| requests.any(|r| history.session_of(r.connection) == Some(s)))
        };
        if !history.deliveries.iter().any(|d| may_be_it(d) && is_member(d)) {
            debug_assert!(shares(group, message.topic));
            return Err(Violation::new(
                "no message of a group is lost while a member can take it",
                format!("{group} did not get message {number}, session {receiver} was there: {message:?}"),
            ));
        }
    }
    Ok(())
}

fn connections_of(history: &History, session: usize) -> impl Iterator<Item = &Connection> {
    let connections = history.sessions.get(session).map_or(&[][..], |s| &s.connections);
    connections.iter().filter_map(|c| history.connections.get(*c))
}

/// Whether a session was a member all the time, at QoS 1 or 2, is there at the end, and was never given up. A group that only
/// clean sessions have ends with the last proxy that has members, which may find storage again after that has restarted.
fn is_certain_receiver(history: &History, session: usize, shared: &Shared<'_>) -> bool {
    let is_there = connections_of(history, session)
        .last()
        .is_some_and(Connection::is_alive);
    let was_given_up = connections_of(history, session).any(|c| {
        let proxy = c.proxy;
        history.has_broken(|b| b == Broken::Storage || b == (Broken::Lease { proxy }), 0, At::MAX)
            || c.expiry_s == 0 && history.came_late(proxy, 0, At::MAX)
    });
    let wants_reliable = shared.states.iter().flatten().all(|o| o.qos.is_acknowledged());
    is_there && !was_given_up && shared.is_certain() && wants_reliable
}

/// Whether a message may be lost with another member: what that was sent at QoS 0 and 2 goes to nobody else.
fn may_lose(history: &History, message: &Message, session: usize, shared: &Shared<'_>) -> bool {
    let comes_back = |qos: QoS| qos.min(message.qos) == QoS::AtLeastOnce;
    if shared.states.iter().flatten().all(|o| comes_back(o.qos)) {
        return false;
    }
    let has_stayed = connections_of(history, session).all(|c| c.ended.is_none_or(|e| e.at < message.sent))
        && connections_of(history, session)
            .last()
            .is_some_and(Connection::is_alive);
    !has_stayed || history.has_any_broken()
}
