//! Retained messages: new subscribers get what is retained, nothing that has been replaced, and nobody gets an older
//! one after a newer one.

use freshet_mqtt::RetainHandling;

use super::subscriptions::{filters, may_share};
use crate::history::{At, Broken, Delivery, History, Message, Request};
use crate::topics::matches;
use crate::violation::Violation;

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    nothing_that_was_replaced_is_sent(history)?;
    nothing_older_follows_something_newer(history)?;
    what_is_retained_is_sent(history)
}

/// Whether `older` was certainly stored before `newer`: it was answered before that was sent, or the same client sent
/// it first on the same connection.
fn is_before(older: &Message, newer: &Message) -> bool {
    let answered = older.answered.is_some_and(|a| a.at < newer.sent);
    let follows = older.connection == newer.connection
        && older.sent < newer.sent
        && !older.is_will
        && !newer.is_will
        && older.attempts == 1
        && older.qos.is_acknowledged() == newer.qos.is_acknowledged();
    answered || follows
}

fn retained_at<'h>(history: &'h History, topic: &'h str) -> impl Iterator<Item = (usize, &'h Message)> {
    let to_topic = move |(_, m): &(usize, &Message)| m.retain && m.topic == topic && !is_refused(m);
    history.messages.iter().enumerate().filter(to_topic)
}

fn is_refused(message: &Message) -> bool {
    message.answered.is_some_and(|a| a.code.is_error())
}

/// A message that was read for a subscription was not replaced before that was asked for.
fn nothing_that_was_replaced_is_sent(history: &History) -> Result<(), Violation> {
    for delivery in history.deliveries.iter().filter(|d| d.retain && !d.dup) {
        let Some((number, message)) = message_of(history, delivery) else {
            continue;
        };
        let session = history.session_of(delivery.connection);
        let Some(session) = session.filter(|_| !is_of_unknown(history, delivery.connection)) else {
            continue;
        };
        // It may have come live.
        if may_share(history, session, message.topic) {
            continue;
        }
        let wants_retain = |options: &crate::history::Options| options.retain_as_published;
        let live = filters(history, session, message.topic, message.sent, delivery.at)
            .iter()
            .any(|f| f.states.iter().flatten().any(|options| wants_retain(options)));
        if live {
            continue;
        }
        // It may have been read for any of these, and have waited for the client since.
        let asked = reads(history, delivery.connection, message.topic, delivery.at);
        let unanswered_then = |r: &&Request| r.answered.is_none_or(|a| a.at > message.sent);
        let first_asked = asked.filter(unanswered_then).map(|r| r.sent).min().unwrap_or(0);
        let replaced = retained_at(history, message.topic)
            .find(|(_, newer)| is_before(message, newer) && newer.answered.is_some_and(|a| a.at < first_asked));
        if let Some((newer, _)) = replaced {
            return Err(Violation::new(
                "what was replaced is not sent to new subscribers",
                format!("message {number} had been replaced by {newer}: {delivery:?}"),
            ));
        }
    }
    Ok(())
}

/// Requests of a connection, before `until`, for which retained messages of a topic may be read.
fn reads<'h>(history: &'h History, connection: usize, topic: &'h str, until: At) -> impl Iterator<Item = &'h Request> {
    history.requests.iter().filter(move |r| {
        let wants = |options: &crate::history::Options| options.retain_handling != RetainHandling::DoNotSend;
        r.connection == connection
            && r.sent < until
            && matches(r.filter, topic)
            && r.options.as_ref().is_some_and(wants)
    })
}

/// On one connection, behind a message of a topic none comes that was published before it, whether it was read or came
/// live. What is acknowledged and what is not have no order among each other.
fn nothing_older_follows_something_newer(history: &History) -> Result<(), Violation> {
    let forgotten = |b| matches!(b, Broken::Storage | Broken::StorageRestarted | Broken::Lease { .. });
    for (at, delivery) in history.deliveries.iter().enumerate() {
        if delivery.dup || is_of_unknown(history, delivery.connection) || is_known_to_the_session(history, at) {
            continue;
        }
        let Some((number, message)) = message_of(history, delivery) else {
            continue;
        };
        let session = history.session_of(delivery.connection);
        if session.is_some_and(|session| may_share(history, session, message.topic)) {
            continue;
        }
        let earlier = history.deliveries.iter().take(at).filter(|d| {
            // What is sent again comes first, also where nobody knows any more that something older was sent before.
            !d.dup
                && d.connection == delivery.connection
                && d.topic == delivery.topic
                && d.qos.is_acknowledged() == delivery.qos.is_acknowledged()
        });
        for before in earlier {
            let Some((newer_number, newer)) = message_of(history, before) else {
                continue;
            };
            // Without RETAIN a message replaces nothing, and the retained one may be read behind it.
            let has_order = newer.retain || !delivery.retain;
            // What was sent twice may have been taken twice.
            let alone = message.attempts == 1 && newer.attempts == 1;
            let remembered = !history.has_broken(forgotten, 0, delivery.at);
            if has_order && alone && remembered && is_before(message, newer) {
                return Err(Violation::new(
                    "nothing older follows something newer",
                    format!("message {number} behind {newer_number}: {delivery:?}"),
                ));
            }
        }
    }
    Ok(())
}

/// Whether nobody knows what the session of a connection was subscribed to.
fn is_of_unknown(history: &History, connection: usize) -> bool {
    let session = history.session_of(connection);
    let session = session.and_then(|session| history.sessions.get(session));
    session.is_some_and(|session| session.is_unknown)
}

/// Whether a delivery is of a message that an earlier connection of the session was sent.
fn is_known_to_the_session(history: &History, at: usize) -> bool {
    let session = |d: &Delivery| history.session_of(d.connection);
    history.deliveries.get(at).is_some_and(|delivery| {
        let is_same = |d: &Delivery| {
            d.connection != delivery.connection && d.message == delivery.message && session(d) == session(delivery)
        };
        history.deliveries.iter().take(at).any(is_same)
    })
}

fn message_of<'h>(history: &'h History, delivery: &Delivery) -> Option<(usize, &'h Message)> {
    let number = delivery.message?;
    history.messages.get(number).map(|m| (number, m))
}

/// A message that was retained when a subscription asked for it, and not replaced until that was answered, was sent
/// (MQTT-3.3.1-6, -9, -10).
fn what_is_retained_is_sent(history: &History) -> Result<(), Violation> {
    for (at, request) in history.requests.iter().enumerate() {
        let (Some(options), Some(answered)) = (&request.options, request.answered) else {
            continue;
        };
        let Some(connection) = history.connections.get(request.connection).filter(|c| c.is_alive()) else {
            continue;
        };
        let is_new = || {
            let session = history.session_of(request.connection);
            let earlier = |r: &&Request| history.session_of(r.connection) == session && r.filter == request.filter;
            let mut earlier = history.requests.iter().take(at).filter(earlier);
            earlier.all(|r| r.options.is_none())
        };
        let wanted = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new() && !is_of_unknown(history, request.connection),
            RetainHandling::DoNotSend => false,
        };
        // Another request for the same filter may have ended this one's reading.
        let repeated = history
            .requests
            .iter()
            .skip(at + 1)
            .any(|r| r.connection == request.connection && r.filter == request.filter);
        if !wanted || repeated || answered.code.is_error() {
            continue;
        }
        for (number, message) in history.messages.iter().enumerate() {
            if !matches(request.filter, message.topic) || !is_certainly_retained(history, message, request.sent) {
                continue;
            }
            let too_large = connection.max_packet_bytes > 0 && message.padding > 0;
            let own = history.connections.get(message.connection).map(|c| c.identity) == Some(connection.identity);
            if message.expiry_s.is_some() || too_large || options.no_local && own {
                continue;
            }
            let sent = history.deliveries.iter().any(|d| {
                d.connection == request.connection && d.message == Some(number) && d.retain && d.at > request.sent
            });
            if !sent {
                return Err(Violation::new(
                    "new subscribers get what is retained",
                    format!(
                        "connection {} did not get message {number} for {request:?}",
                        request.connection
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Whether a message was retained at `at` and until everything had come to rest.
fn is_certainly_retained(history: &History, message: &Message, at: At) -> bool {
    let stored = message.retain && !message.empty && message.answered.is_some_and(|a| a.at < at && !a.code.is_error());
    let forgotten = history.has_broken(|b| b == Broken::Storage, message.sent, At::MAX);
    let mut others = retained_at(history, message.topic).filter(|(_, m)| m.sent != message.sent);
    stored && !forgotten && others.all(|(_, other)| is_before(other, message))
}
