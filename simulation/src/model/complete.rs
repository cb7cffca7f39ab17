//! What must have arrived when everything has come to rest: no acknowledged message that somebody was connected for is
//! lost, and nobody waits for an answer.

use freshet_mqtt::{QoS, ReasonCode};

use super::delivery::is_own;
use super::subscriptions::{Filter, filters};
use crate::history::{At, Broken, History, Message};
use crate::violation::Violation;

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    everything_is_answered(history)?;
    for (number, message) in history.messages.iter().enumerate() {
        if !message.is_will {
            reaches_its_receivers(history, number, message)?;
            somebody_matched(history, number, message)?;
        }
    }
    Ok(())
}

fn everything_is_answered(history: &History) -> Result<(), Violation> {
    for (number, connection) in history.connections.iter().enumerate().filter(|(_, c)| c.is_alive()) {
        let unanswered = &connection.unanswered;
        let pings = history.unanswered_pings(number);
        if pings > 0 || !unanswered.is_empty() {
            let seen = format!("connection {number}: {pings} pings, {unanswered:?}");
            return Err(Violation::new("everything is answered", seen));
        }
    }
    Ok(())
}

/// Whether a message may be more than a client takes (MQTT 5.0, 3.1.2.11.4). A connection whose CONNACK was not read counts.
pub(super) fn may_be_too_large(history: &History, identity: usize, message: &Message) -> bool {
    let mut connections = history.connections.iter().filter(|c| c.identity == identity);
    message.padding > 0 && connections.any(|c| c.max_packet_bytes > 0)
}

/// Whether a session was subscribed to the message's topic from when it was sent until `to`, not leaving it out.
pub(super) fn is_certain_receiver(history: &History, session: usize, message: &Message, to: At) -> bool {
    let own = is_own(history, session, message);
    filters(history, session, message.topic, message.sent, to)
        .iter()
        .any(|f| f.is_certain() && (!own || f.is_never_no_local()))
}

fn reaches_its_receivers(history: &History, number: usize, message: &Message) -> Result<(), Violation> {
    let Some(until) = routed_until(history, message) else {
        return Ok(());
    };
    for (session, of) in history.known_sessions() {
        let connection = of.connections.last().and_then(|c| history.connections.get(*c));
        let Some(connection) = connection.filter(|c| c.is_alive()) else {
            continue;
        };
        let too_large = may_be_too_large(history, connection.identity, message);
        // Its time may have passed in a queue.
        if too_large || message.expiry_s.is_some() {
            continue;
        }
        // Storage without memory has lost what was on its way.
        if history.has_broken(|b| b == Broken::Storage, message.sent, At::MAX) {
            continue;
        }
        // A proxy that was given up, or that came back late to storage without memory, has missed messages, some of them
        // when it is back and has not named its filters yet. Sessions that have QoS 1 or 2 when it learns of that are
        // closed; others are promised nothing.
        let given_up = |b| {
            b == (Broken::Lease {
                proxy: connection.proxy,
            })
        };
        let wants_reliable =
            |f: &Filter<'_>| f.is_certain() && f.states.iter().flatten().all(|o| o.qos.is_acknowledged());
        let own = is_own(history, session, message);
        let wanted = filters(history, session, message.topic, message.sent, At::MAX);
        let is_promised = wanted
            .iter()
            .any(|f| wants_reliable(f) && (!own || f.is_never_no_local()));
        let has_missed = history.has_broken(given_up, 0, At::MAX)
            || history.has_broken(|b| b == Broken::Storage, 0, message.sent)
            || history.has_broken(|b| b == Broken::StorageRestarted, 0, At::MAX);
        // Only what QoS 1 and 2 are kept for a client that is away.
        let was_away = connection.accepted.is_some_and(|a| a.at > message.sent);
        let is_kept = message.qos.is_acknowledged() && is_promised;
        if has_missed && !is_promised || was_away && !is_kept {
            continue;
        }
        // One copy is for all filters that match, at the highest QoS. Where it waits for room in the window and the filter it
        // waits for is given up, it goes, and what is left of QoS 0 is promised nothing.
        let may_wait_for =
            |f: &Filter<'_>| !f.is_certain() && f.states.iter().flatten().any(|o| o.qos.is_acknowledged());
        if message.qos.is_acknowledged() && !is_promised && wanted.iter().any(may_wait_for) {
            continue;
        }
        // Publishers do not wait for a proxy that cannot be reached: it gets the message later.
        let unreached = |b| {
            b == (Broken::Streams {
                proxy: connection.proxy,
            })
        };
        let until = if history.has_broken(unreached, 0, until) {
            At::MAX
        } else {
            until
        };
        let got = |d: &crate::history::Delivery| {
            history.session_of(d.connection) == Some(session)
                && match d.message {
                    Some(delivered) => delivered == number,
                    None => message.empty && d.topic == message.topic && d.at > message.sent,
                }
        };
        if is_certain_receiver(history, session, message, until) && !history.deliveries.iter().any(got) {
            return Err(Violation::new(
                "no message is lost whose receiver is connected",
                format!("session {session} did not get message {number}: {message:?}"),
            ));
        }
    }
    Ok(())
}

/// When a message had certainly been routed; none: it may never have been.
pub(super) fn routed_until(history: &History, message: &Message) -> Option<At> {
    if message.qos != QoS::AtMostOnce {
        return message.answered.filter(|a| !a.code.is_error()).map(|a| a.at);
    }
    // QoS 0 is sure to arrive where nothing breaks and everything that was sent was read.
    let publisher = history.connections.get(message.connection)?;
    let was_read = publisher.is_alive() || publisher.all_read.is_some();
    let nothing_broke = !history.has_broken(|b| !matches!(b, Broken::StreamsMended { .. }), 0, At::MAX);
    let was_taken_over = history
        .connections
        .iter()
        .any(|c| c.identity == publisher.identity && c.opened > publisher.opened);
    (was_read && nothing_broke && !was_taken_over).then_some(history.rest?)
}

/// "No matching subscribers" is not said when there was one.
fn somebody_matched(history: &History, number: usize, message: &Message) -> Result<(), Violation> {
    let Some(answered) = message.answered.filter(|a| a.code == ReasonCode::NoMatchingSubscribers) else {
        return Ok(());
    };
    // Storage may have given up a proxy long before that learns of it.
    let lost = |b| {
        matches!(
            b,
            Broken::Storage | Broken::StorageRestarted | Broken::Lease { .. } | Broken::Proxy { .. }
        )
    };
    if history.has_broken(lost, 0, At::MAX) {
        return Ok(());
    }
    for (session, of) in history.known_sessions() {
        let connection = of.connections.last().and_then(|c| history.connections.get(*c));
        let was_there = connection.is_some_and(|c| {
            c.accepted.is_some_and(|a| a.at < message.sent) && c.ended.is_none_or(|e| e.at > answered.at)
        });
        let wanted = filters(history, session, message.topic, message.sent, answered.at)
            .iter()
            .any(|f| f.is_certain() && f.is_never_no_local());
        if was_there && wanted && !connection.is_some_and(|c| is_superseded(history, c.identity, c.opened)) {
            return Err(Violation::new(
                "a publisher is told of no subscribers only where there is none",
                format!("session {session} was subscribed: message {number} {message:?}"),
            ));
        }
    }
    Ok(())
}

/// Whether the client connected again: its former connection may have been ended without knowing it yet.
fn is_superseded(history: &History, identity: usize, opened: At) -> bool {
    let later = |c: &&crate::history::Connection| c.identity == identity && c.opened > opened;
    history.connections.iter().any(|c| later(&c))
}
