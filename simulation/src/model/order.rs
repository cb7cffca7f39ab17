//! In which order messages come: those of one publisher to one topic as they were published (MQTT-4.6.0-5, -6).
//!
//! What is acknowledged and what is not have no order among each other: QoS 0 may overtake.

use super::subscriptions::may_share;
use crate::history::{Broken, Delivery, History};
use crate::violation::Violation;

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    for (session, _) in history.known_sessions() {
        let of_session = |d: &&Delivery| history.session_of(d.connection) == Some(session);
        let mut seen: Vec<(Stream, usize)> = Vec::new();
        let mut delivered: Vec<usize> = Vec::new();
        for delivery in history.deliveries.iter().filter(of_session) {
            let Some((number, stream)) = stream_of(history, delivery) else {
                continue;
            };
            if may_share(history, session, stream.topic) {
                continue;
            }
            // What was sent with RETAIN may have been read; `super::retained` judges that.
            if delivery.retain {
                delivered.push(number);
                continue;
            }
            // What had no answer comes again, and may find subscribers that it did not have before.
            let forgotten = |b| matches!(b, Broken::Storage | Broken::StorageRestarted | Broken::Lease { .. });
            let sent = history.messages.get(number).map_or(0, |m| m.sent);
            if history.has_broken(forgotten, sent, delivery.at) {
                continue;
            }
            // Only what is sent for the first time has an order: what the publisher sends again may be routed again.
            let is_repeated = history.messages.get(number).is_some_and(|m| m.attempts > 1);
            if delivered.contains(&number) || is_repeated || was_too_large(history, session, number) {
                continue;
            }
            delivered.push(number);
            match seen.iter_mut().find(|(of, _)| *of == stream) {
                Some((_, last)) if *last > number => {
                    return Err(Violation::new(
                        "messages of one publisher to one topic keep their order",
                        format!("session {session} got message {number} behind {last}: {delivery:?}"),
                    ));
                }
                Some((_, last)) => *last = number,
                None => seen.push((stream, number)),
            }
        }
    }
    Ok(())
}

/// Whether a message may have been too large for the session's client, which may be back with a larger bound: then it
/// comes behind those that it was passed over for.
fn was_too_large(history: &History, session: usize, number: usize) -> bool {
    let is_large = history.messages.get(number).is_some_and(|m| m.padding > 0);
    let connections = history.sessions.get(session).map_or(&[][..], |s| &s.connections);
    let mut connections = connections.iter().filter_map(|c| history.connections.get(*c));
    is_large && connections.any(|c| c.max_packet_bytes > 0)
}

/// What has an order.
#[derive(Debug, PartialEq, Eq)]
struct Stream {
    publisher: usize,
    topic: &'static str,
    published_reliably: bool,
    delivered_reliably: bool,
}

fn stream_of(history: &History, delivery: &Delivery) -> Option<(usize, Stream)> {
    let number = delivery.message?;
    let message = history.messages.get(number).filter(|m| !m.is_will)?;
    let stream = Stream {
        publisher: message.connection,
        topic: message.topic,
        published_reliably: message.qos.is_acknowledged(),
        delivered_reliably: delivery.qos.is_acknowledged(),
    };
    Some((number, stream))
}
