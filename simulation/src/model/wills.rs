//! Which wills are published (MQTT 5.0, 3.1.2.5): those of connections that ended without DISCONNECT 0x00, and only
//! those.

use freshet_mqtt::QoS;

use super::complete::is_certain_receiver;
use crate::history::{At, Broken, Connection, Ended, History, How, Message};
use crate::violation::Violation;

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    for connection in &history.connections {
        let Some((number, _)) = connection.will else { continue };
        let Some(will) = history.messages.get(number) else {
            continue;
        };
        if is_certainly_withheld(history, connection)
            && let Some(delivery) = history.deliveries.iter().find(|d| d.message == Some(number))
        {
            return Err(Violation::new(
                "the will of a client that said DISCONNECT is not published",
                format!("will {number}: {delivery:?}"),
            ));
        }
        if let Some(ended) = certainly_due(history, connection) {
            reaches_its_receivers(history, number, will, ended)?;
        }
    }
    Ok(())
}

/// Whether nothing but DISCONNECT 0x00 can have ended the connection for the server, or it never ended.
fn is_certainly_withheld(history: &History, connection: &Connection) -> bool {
    let said_so = match connection.ended {
        None => connection.accepted.is_some(),
        Some(ended) => ended.how == How::Disconnect && connection.all_read.is_some(),
    };
    // A proxy that storage cannot hear has not told it of the end yet.
    let proxy = connection.proxy;
    let unheard = history.has_broken(|b| b == (Broken::Streams { proxy }), 0, At::MAX);
    let end = connection.all_read.filter(|_| !unheard).unwrap_or(At::MAX);
    said_so && !is_rivalled(history, connection, end) && !has_lost_its_proxy(history, connection)
}

/// When the connection ended in a way that publishes its will; none: the will may be withheld.
fn certainly_due(history: &History, connection: &Connection) -> Option<Ended> {
    let ended = connection.ended?;
    let without_disconnect = matches!(ended.how, How::HungUp | How::Lost | How::DisconnectWithWill);
    let with_disconnect_lost = ended.how == How::DisconnectWithWill && connection.all_read.is_none();
    let qos = connection
        .will
        .and_then(|(number, _)| history.messages.get(number))
        .map(|will| will.qos);
    // A proxy tells storage that came back of a will with the end of its connection, if the will may come twice.
    let is_told_again = qos == Some(QoS::AtLeastOnce);
    let forgotten = history.has_broken(|b| b == Broken::Storage, 0, At::MAX)
        || !is_told_again && history.has_broken(|b| b == Broken::StorageRestarted, connection.opened, At::MAX);
    // QoS 0 is sure to arrive only where nothing breaks.
    let is_reliable = qos.is_some_and(QoS::is_acknowledged);
    let nothing_broke = !history.has_broken(|b| !matches!(b, Broken::StreamsMended { .. }), 0, At::MAX);
    let certain = connection.accepted.is_some()
        && without_disconnect
        && !with_disconnect_lost
        && !forgotten
        && (is_reliable || nothing_broke)
        && !is_rivalled(history, connection, At::MAX)
        && !has_lost_its_proxy(history, connection);
    certain.then_some(ended)
}

/// Whether the same client connected elsewhere before `until`: its takeover may have decided on the will.
fn is_rivalled(history: &History, connection: &Connection, until: At) -> bool {
    let rivals =
        |c: &&Connection| c.identity == connection.identity && c.opened != connection.opened && c.opened < until;
    // One that came to its end before this one began has no part in it.
    let is_over = |c: &Connection| c.all_read.is_some_and(|at| at < connection.opened);
    history.connections.iter().filter(rivals).any(|c| !is_over(c))
}

/// Whether the server itself may have taken the connection for one that moved.
fn has_lost_its_proxy(history: &History, connection: &Connection) -> bool {
    let proxy = connection.proxy;
    let lost = |b| b == (Broken::Lease { proxy }) || b == (Broken::Proxy { proxy });
    history.has_broken(lost, connection.opened, At::MAX)
}

/// Whoever was subscribed since before the connection ended has got the will.
fn reaches_its_receivers(history: &History, number: usize, will: &Message, ended: Ended) -> Result<(), Violation> {
    let Some(rest) = history.rest else { return Ok(()) };
    for (session, of) in history.known_sessions() {
        let connection = of.connections.last().and_then(|c| history.connections.get(*c));
        let Some(connection) = connection
            .filter(|c| c.is_alive() && !has_lost_its_proxy(history, c))
            // One that was away is not judged.
            .filter(|c| c.accepted.is_some_and(|a| a.at < ended.at))
        else {
            continue;
        };
        // The will is sent when the connection ends, not when it is said.
        let fired = Message {
            sent: ended.at,
            ..copy(will)
        };
        let small = connection.max_packet_bytes > 0;
        let is_receiver = is_certain_receiver(history, session, &fired, rest);
        let got = history
            .deliveries
            .iter()
            .any(|d| d.message == Some(number) && history.session_of(d.connection) == Some(session));
        if is_receiver && !small && !got {
            return Err(Violation::new(
                "the will of a client that went without DISCONNECT is published",
                format!("session {session} did not get will {number}"),
            ));
        }
    }
    Ok(())
}

fn copy(message: &Message) -> Message {
    Message {
        connection: message.connection,
        is_will: message.is_will,
        topic: message.topic,
        qos: message.qos,
        retain: message.retain,
        empty: message.empty,
        padding: message.padding,
        expiry_s: message.expiry_s,
        sent: message.sent,
        sent_ms: message.sent_ms,
        attempts: message.attempts,
        answered: message.answered,
    }
}
