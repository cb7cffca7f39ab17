//! Takeover: once a new connection is let in, the one that had its client id before is served no more (MQTT-3.1.4-3).
//!
//! What was on its way may still arrive there. But nothing that is sent on it afterwards is answered or reaches anybody,
//! and nothing that is published afterwards is delivered on it. That holds while storage comes back, too. It does not
//! where storage could not reach the former connection's proxy at some time: that one learns of it later.

use freshet_mqtt::QoS;

use crate::history::{At, Broken, Connection, History};
use crate::violation::Violation;

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    for (number, connection) in history.connections.iter().enumerate() {
        let blocked = Broken::StreamsBlocked {
            proxy: connection.proxy,
        };
        if history.has_broken(|b| b == blocked, 0, At::MAX) {
            continue;
        }
        if let Some(since) = superseded(history, connection)
            && let Some(seen) = served_after(history, number, connection, since)
        {
            return Err(Violation::new(
                "a connection that was taken over is served no more",
                format!("connection {number}, taken over at {since}: {seen}"),
            ));
        }
    }
    Ok(())
}

/// When a client knew that a connection of a later CONNECT was let in. Two under way at once may be let in either way
/// round.
fn superseded(history: &History, former: &Connection) -> Option<At> {
    let accepted = former.accepted?.at;
    let later = |c: &&Connection| c.identity == former.identity && c.opened > accepted;
    let let_in = history.connections.iter().filter(later).filter_map(|c| c.accepted);
    let_in.map(|accepted| accepted.at).min()
}

/// What shows that a connection was served behind `since`.
fn served_after(history: &History, number: usize, connection: &Connection, since: At) -> Option<String> {
    // What comes to its client later came on another one.
    let ended = connection.ended.map_or(At::MAX, |ended| ended.at);
    let is_answered_here = |sent: At, answered: Option<At>| sent > since && answered.is_some_and(|at| at < ended);
    for ping in history.pings.iter().filter(|ping| ping.connection == number) {
        if is_answered_here(ping.sent, ping.answered) {
            return Some(format!("{ping:?}"));
        }
    }
    for request in history.requests.iter().filter(|r| r.connection == number) {
        if is_answered_here(request.sent, request.answered.map(|a| a.at)) {
            return Some(format!("{request:?}"));
        }
    }
    for message in history.messages.iter().filter(|m| m.connection == number && !m.is_will) {
        if is_answered_here(message.sent, message.answered.map(|a| a.at)) {
            return Some(format!("{message:?}"));
        }
    }
    for delivery in &history.deliveries {
        let Some(message) = delivery.message.and_then(|m| history.messages.get(m)) else {
            continue;
        };
        // One of QoS 1 or 2 may have been sent again on the next connection.
        let was_sent_here = message.connection == number && message.qos == QoS::AtMostOnce;
        if !message.is_will && message.sent > since && (delivery.connection == number || was_sent_here) {
            return Some(format!("{delivery:?}"));
        }
    }
    None
}
