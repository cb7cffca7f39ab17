//! What is sent to whom: only what was published and subscribed to, at the right QoS, with the right identifiers, as
//! one copy, as often as the QoS allows.

use freshet_mqtt::{QoS, RetainHandling};

use super::subscriptions::filters;
use crate::history::{At, Broken, Delivery, History, Message, Options, Request};
use crate::topics::matches;
use crate::violation::Violation;

/// How a delivery may have come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The message was routed to the session's subscriptions.
    Live,
    /// It was retained, and read for this request (index in the history).
    Read(usize),
}

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    for (session, _) in history.known_sessions() {
        judge_session(history, session)?;
    }
    Ok(())
}

fn judge_session(history: &History, session: usize) -> Result<(), Violation> {
    let new = |d: &&Delivery| !d.again && history.session_of(d.connection) == Some(session);
    let mut by_message: Vec<(usize, Vec<Vec<Origin>>)> = Vec::new();
    for delivery in history.deliveries.iter().filter(new) {
        let origins = origins(history, session, delivery)?;
        if let Some(message) = delivery.message {
            keeps_its_expiry(history, message, delivery)?;
            match by_message.iter_mut().find(|(of, _)| *of == message) {
                Some((_, all)) => all.push(origins),
                None => by_message.push((message, vec![origins])),
            }
        }
    }
    for (number, origins) in by_message {
        let Some(message) = history.messages.get(number) else {
            continue;
        };
        let of_message = |d: &&Delivery| new(d) && d.message == Some(number);
        // Packet ids of QoS 2 are handed over even when a proxy is lost.
        let keeps_its_id = |d: &Delivery| d.qos == QoS::ExactlyOnce;
        let renumbered = match history.deliveries.iter().filter(of_message).all(keeps_its_id) {
            true => 0,
            false => renumbered(history, session),
        };
        let copies = copies_allowed(history, message) * (1 + renumbered);
        if !can_be_explained(&origins, &mut Vec::new(), copies) {
            return Err(Violation::new(
                "a message comes as often as its QoS allows",
                format!(
                    "session {session} got message {number} {} times, {copies} allowed",
                    origins.len()
                ),
            ));
        }
    }
    Ok(())
}

/// All ways in which a delivery may have come about.
fn origins(history: &History, session: usize, delivery: &Delivery) -> Result<Vec<Origin>, Violation> {
    let candidates: Vec<&Message> = match delivery.message {
        Some(number) => history.messages.get(number).into_iter().collect(),
        // Only the topic tells which one it was.
        None => {
            let clears = |m: &&Message| m.empty && m.topic == delivery.topic && m.sent < delivery.at;
            history.messages.iter().filter(clears).collect()
        }
    };
    let published = candidates
        .iter()
        .any(|m| m.sent < delivery.at && m.topic == delivery.topic);
    if !published {
        return Err(seen("only what was published is delivered", session, delivery));
    }
    let mut found = Vec::new();
    for message in candidates {
        // What is sent again is sent as it was, whatever has become of the subscription.
        if delivery.dup || is_live(history, session, message, delivery) {
            found.push(Origin::Live);
        }
        let reads = history.requests.iter().enumerate().filter(|(_, r)| {
            history.session_of(r.connection) == Some(session)
                && (r.connection == delivery.connection || delivery.dup)
                && r.sent < delivery.at
                && matches(r.filter, message.topic)
        });
        for (request, asked) in reads {
            let wants = |options: &Options| options.retain_handling != RetainHandling::DoNotSend;
            if asked.options.as_ref().is_some_and(wants)
                && (delivery.dup
                    || options_since(history, asked, delivery.at).any(|options| is_read(message, options, delivery)))
            {
                found.push(Origin::Read(request));
            }
        }
    }
    if found.is_empty() {
        let rule = "a delivery has the QoS, RETAIN and identifiers of the subscriptions that match";
        return Err(seen(rule, session, delivery));
    }
    Ok(found)
}

/// Whether `delivery` may be `message`, routed to the session's subscriptions: one copy at the highest QoS of those
/// that match (MQTT-3.3.4-2), with all their identifiers (MQTT-3.3.4-3 to -5), with RETAIN as published if one of them
/// wants that (MQTT-3.3.1-12, -13), without those that leave out the client's own messages (MQTT-3.8.3-3).
fn is_live(history: &History, session: usize, message: &Message, delivery: &Delivery) -> bool {
    let own = is_own(history, session, message);
    let has_identifiers = has_properties(history, delivery);
    let was_queued = delivery.qos.is_acknowledged() && may_have_been_queued(history, delivery);
    let was_forgotten = was_queued && may_have_been_forgotten(history, delivery);
    let filters = filters(history, session, message.topic, message.sent, delivery.at);
    let mut choices: Vec<Vec<&Options>> = vec![Vec::new()];
    for filter in &filters {
        let mut extended = Vec::new();
        for chosen in &choices {
            for state in &filter.states {
                let acts = |options: &&Options| !(options.no_local && own);
                let mut with = chosen.clone();
                with.extend(state.filter(acts));
                extended.push(with);
                // Nothing is kept for a subscription of QoS 0: what was kept for another has only that one's.
                // Of a session that was forgotten meanwhile, one subscription is there again before the other.
                if was_forgotten || was_queued && state.is_some_and(|options| options.qos == QoS::AtMostOnce) {
                    extended.push(chosen.clone());
                }
            }
        }
        choices = extended;
    }
    choices.iter().any(|chosen| {
        let Some(highest) = chosen.iter().map(|options| options.qos).max() else {
            return false;
        };
        let identifiers = chosen.iter().filter_map(|options| options.identifier);
        let mut identifiers: Vec<u32> = identifiers.filter(|_| has_identifiers).collect();
        identifiers.sort_unstable();
        let keeps_retain = chosen.iter().any(|options| options.retain_as_published);
        delivery.qos == highest.min(message.qos)
            && delivery.identifiers == identifiers
            && delivery.retain == (keeps_retain && message.retain)
    })
}

/// Whether the packet can carry identifiers: a session may come back with another version.
fn has_properties(history: &History, delivery: &Delivery) -> bool {
    let connection = history.connections.get(delivery.connection);
    connection.is_some_and(|c| c.version.has_properties())
}

/// Whether a message may have come out of what was queued for an absence, instead of live.
fn may_have_been_queued(history: &History, delivery: &Delivery) -> bool {
    let connection = history.connections.get(delivery.connection);
    let is_resumed = connection.is_some_and(|c| c.accepted.is_some_and(|a| a.session_present));
    is_resumed || connection.is_some_and(|c| c.expiry_s > 0) && history.has_any_broken()
}

/// Whether storage may have forgotten the session while its client stayed connected: it expired when the lease of its proxy
/// ran out, or storage began anew.
fn may_have_been_forgotten(history: &History, delivery: &Delivery) -> bool {
    let proxy = history.connections.get(delivery.connection).map(|c| c.proxy);
    let forgets = |broken| match broken {
        Broken::Lease { proxy: of } => Some(of) == proxy,
        broken => broken == Broken::Storage,
    };
    history.has_broken(forgets, 0, delivery.at)
}

/// A message is passed on with what is left of its expiry interval (MQTT-3.3.2-6), and not once nothing is left of it
/// (MQTT-3.3.2-5).
fn keeps_its_expiry(history: &History, number: usize, delivery: &Delivery) -> Result<(), Violation> {
    let (Some(message), Some(to)) = (
        history.messages.get(number),
        history.connections.get(delivery.connection),
    ) else {
        return Ok(());
    };
    let expected = message.expiry_s.filter(|_| to.version.has_properties());
    // It may have been written at any time since it was published, and each place may round.
    let passed_s = delivery.ms.saturating_sub(message.sent_ms).div_ceil(1_000) + 1;
    let holds = match (expected, delivery.expiry_s) {
        (None, None) => true,
        // It may have been sent again on a connection whose version has no properties.
        (Some(_), None) => message.attempts > 1,
        (Some(whole), Some(left)) => {
            left > 0 && left <= whole && u64::from(left) + passed_s >= u64::from(whole) && {
                // What is held on its way to storage, or sent again, begins to age later.
                let may_be_younger = message.attempts > 1 || message.is_will || history.has_any_broken();
                // It may lie in the client's socket for as long as that does not read.
                let accepted_ms = to.accepted.map_or(0, |accepted| accepted.ms);
                let aged_s = accepted_ms.saturating_sub(message.sent_ms) / 1_000;
                may_be_younger || u64::from(left) + aged_s <= u64::from(whole) + 1
            }
        }
        _ => false,
    };
    if holds {
        return Ok(());
    }
    let rule = "a message carries what is left of its expiry interval";
    Err(Violation::new(rule, format!("{message:?}: {delivery:?}")))
}

/// Options of the subscription that `asked` made or changed, from then on: what is read is sent as they are by then.
fn options_since<'h>(history: &'h History, asked: &'h Request, until: At) -> impl Iterator<Item = &'h Options> {
    let later = move |r: &&Request| {
        r.connection == asked.connection && r.filter == asked.filter && r.sent >= asked.sent && r.sent < until
    };
    history.requests.iter().filter(later).filter_map(|r| r.options.as_ref())
}

/// Whether `delivery` may be `message`, retained and read for a subscription with `options` (MQTT-3.3.1-8 to -11).
fn is_read(message: &Message, options: &Options, delivery: &Delivery) -> bool {
    message.retain
        && !message.empty
        && delivery.retain
        && delivery.qos == options.qos.min(message.qos)
        && delivery.identifiers == Vec::from_iter(options.identifier)
}

/// Whether a message was published by the session's own client.
pub(super) fn is_own(history: &History, session: usize, message: &Message) -> bool {
    let identity = |connection: usize| history.connections.get(connection).map(|c| c.identity);
    let connection = history.sessions.get(session).and_then(|s| s.connections.first());
    connection.is_some_and(|own| identity(*own) == identity(message.connection))
}

/// How often a message may be routed to one session.
fn copies_allowed(history: &History, message: &Message) -> usize {
    if message.qos == QoS::AtMostOnce && !message.is_will {
        return 1;
    }
    // What had no answer is sent again to storage that knows nothing of it.
    let until = message.answered.map_or(At::MAX, |a| a.at);
    // At QoS 2 a session that outlives its connection is known again.
    let outlives = history
        .connections
        .get(message.connection)
        .is_some_and(|c| c.expiry_s > 0);
    let is_kept = outlives && message.qos == QoS::ExactlyOnce;
    let is_forgettable = message.is_will || !is_kept;
    let forgotten = |b| b == Broken::Storage || is_forgettable && matches!(b, Broken::Lease { .. });
    let again = history.times_broken(forgotten, message.sent, until);
    match message.qos {
        QoS::ExactlyOnce => 1 + again,
        _ => message.attempts + again,
    }
}

/// How often QoS 1 may have come again under another packet id: when a connection was lost with its proxy, or with what
/// that had to say to storage.
fn renumbered(history: &History, session: usize) -> usize {
    let connections = history.sessions.get(session).map_or(1, |s| s.connections.len());
    if history.has_any_broken() { connections - 1 } else { 0 }
}

/// Whether each delivery can have an origin of its own: one read for each request, and so many live ones.
fn can_be_explained(origins: &[Vec<Origin>], taken: &mut Vec<Origin>, copies: usize) -> bool {
    let Some((first, rest)) = origins.split_first() else {
        return true;
    };
    first.iter().any(|origin| {
        let used = taken.iter().filter(|t| *t == origin).count();
        let allowed = if *origin == Origin::Live { copies } else { 1 };
        if used >= allowed {
            return false;
        }
        taken.push(*origin);
        let explained = can_be_explained(rest, taken, copies);
        taken.pop();
        explained
    })
}

fn seen(rule: &'static str, session: usize, delivery: &Delivery) -> Violation {
    Violation::new(rule, format!("session {session}: {delivery:?}"))
}
