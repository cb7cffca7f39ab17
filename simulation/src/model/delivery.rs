//! What is sent to whom: only what was published and subscribed to, at the right QoS, with the right identifiers, as
//! one copy, to one member of each group, as often as the QoS allows.

use freshet_mqtt::{QoS, RetainHandling};

use super::groups::is_final;
use super::subscriptions::{filters, shared};
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
    /// The session was given it as a member of this group.
    Shared(&'static str),
}

/// A delivery of a message, of which there may be several.
#[derive(Debug)]
struct Copy {
    session: usize,
    origins: Vec<Origin>,
    /// No other member of a group is to be given the message.
    is_final: bool,
}

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    let mut by_message: Vec<Vec<Copy>> = Vec::new();
    by_message.resize_with(history.messages.len(), Vec::new);
    for (session, _) in history.known_sessions() {
        let new = |d: &&Delivery| !d.again && history.session_of(d.connection) == Some(session);
        for delivery in history.deliveries.iter().filter(new) {
            let origins = origins(history, session, delivery)?;
            let Some(number) = delivery.message else { continue };
            keeps_its_expiry(history, number, delivery)?;
            if let Some(copies) = by_message.get_mut(number) {
                copies.push(Copy {
                    session,
                    origins,
                    is_final: is_final(history, number, delivery),
                });
            }
        }
    }
    for ((number, message), copies) in history.messages.iter().enumerate().zip(&by_message) {
        let allowed = copies_allowed(history, message, false);
        let limit = |copy: &Copy, origin: Origin| match origin {
            Origin::Live => {
                let is_queued = is_queued(history, copy.session, number);
                let routed = copies_allowed(history, message, is_queued);
                (routed + told_again(history, copy.session, number)) * (1 + renumbered(history, copy.session, number))
            }
            Origin::Read(_) => 1,
            Origin::Shared(_) => allowed,
        };
        if !can_be_explained(copies, &mut Vec::new(), &limit) {
            let sessions: Vec<usize> = copies.iter().map(|copy| copy.session).collect();
            return Err(Violation::new(
                "a message comes as often as its QoS allows",
                format!("message {number} came to sessions {sessions:?}, {allowed} times allowed: {copies:?}"),
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
        let was_live = || history.requests_of(session).any(|r| matches(r.filter, message.topic));
        if delivery.dup && was_live() || is_live(history, session, message, delivery) {
            found.push(Origin::Live);
        }
        for shared in shared(history, session, message.topic, message.sent, delivery.at) {
            let is_given = |options: &&Options| is_given(history, message, options, delivery);
            if delivery.dup && shared.is_possible() || shared.states.iter().flatten().any(is_given) {
                found.push(Origin::Shared(shared.group));
            }
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

/// Whether `delivery` may be `message`, given to a member of a group with `options`.
fn is_given(history: &History, message: &Message, options: &Options, delivery: &Delivery) -> bool {
    let identifier = options.identifier.filter(|_| has_properties(history, delivery));
    delivery.qos == options.qos.min(message.qos)
        && delivery.identifiers == Vec::from_iter(identifier)
        && delivery.retain == (options.retain_as_published && message.retain)
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
    let passed_ms = delivery.written_ms.saturating_sub(message.sent_ms);
    // Each place may round.
    let passed_s = passed_ms.div_ceil(1_000) + 1;
    let holds = match (expected, delivery.expiry_s) {
        (None, None) => true,
        // It may have been sent again on a connection whose version has no properties.
        (Some(_), None) => message.attempts > 1,
        (Some(whole), Some(left)) => {
            // An exchange that has begun goes on when nothing is left (MQTT-4.4.0-1).
            let may_be_over = delivery.dup && passed_s >= u64::from(whole);
            (left > 0 || may_be_over) && left <= whole && u64::from(left) + passed_s >= u64::from(whole) && {
                // What is held on its way to storage, or sent again, begins to age later.
                let may_be_younger = message.attempts > 1 || message.is_will || history.has_any_broken();
                let aged_s = passed_ms / 1_000;
                may_be_younger || left == 0 || u64::from(left) + aged_s <= u64::from(whole) + 1
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

/// Whether storage has written down that the message is for a session.
fn is_queued(history: &History, session: usize, number: usize) -> bool {
    let connections = history.sessions.get(session).map_or(&[][..], |s| &s.connections);
    let mut connections = connections.iter().filter_map(|c| history.connections.get(*c));
    let of_message = |d: &&Delivery| d.message == Some(number) && history.session_of(d.connection) == Some(session);
    let mut deliveries = history.deliveries.iter().filter(of_message);
    connections.all(|c| c.expiry_s > 0) && deliveries.all(|d| d.qos.is_acknowledged())
}

/// How often a message may be routed to one session; `is_queued`: storage has written down that it is for it.
fn copies_allowed(history: &History, message: &Message, is_queued: bool) -> usize {
    if message.qos == QoS::AtMostOnce && !message.is_will {
        return 1;
    }
    // What had no answer is sent again to storage that knows nothing of it; of what a client repeats, one has none yet.
    let answered = message.answered.filter(|_| message.attempts == 1);
    let until = answered.map_or(At::MAX, |a| a.at);
    // What is written down for somebody is known again, and at QoS 2 a session that outlives its connection.
    let outlives = history
        .connections
        .get(message.connection)
        .is_some_and(|c| c.expiry_s > 0);
    let is_kept = is_queued || outlives && message.qos == QoS::ExactlyOnce;
    let is_forgettable = message.is_will || !is_kept;
    let forgotten =
        |b| b == Broken::Storage || is_forgettable && matches!(b, Broken::Lease { .. } | Broken::StorageRestarted);
    let again = history.times_broken(forgotten, message.sent, until);
    match message.qos {
        QoS::ExactlyOnce => 1 + again,
        _ => message.attempts + again,
    }
}

/// How often a message that storage knew again may have been routed again: storage that came back does not know who had
/// it: what sessions that end with their connection had, or subscriptions of QoS 0, is written nowhere.
fn told_again(history: &History, session: usize, number: usize) -> usize {
    let Some(message) = history.messages.get(number) else {
        return 0;
    };
    if is_queued(history, session, number) {
        return 0;
    }
    let until = message.answered.map_or(At::MAX, |a| a.at);
    history.times_broken(|b| b == Broken::StorageRestarted, message.sent, until)
}

/// How often QoS 1 may have come again under another packet id: when a connection was lost with its proxy, or with what
/// that had to say to storage. Packet ids of QoS 2 are handed over even when a proxy is lost.
fn renumbered(history: &History, session: usize, message: usize) -> usize {
    let of_message =
        |d: &&Delivery| !d.again && d.message == Some(message) && history.session_of(d.connection) == Some(session);
    let mut deliveries = history.deliveries.iter().filter(of_message);
    if deliveries.all(|d| d.qos == QoS::ExactlyOnce) || !history.has_any_broken() {
        return 0;
    }
    history.sessions.get(session).map_or(0, |s| s.connections.len() - 1)
}

/// Whether each copy can have an origin of its own: one read for each request, so many live ones for each session, so
/// many final ones for each group.
fn can_be_explained(
    copies: &[Copy],
    taken: &mut Vec<(usize, Origin)>,
    limit: &impl Fn(&Copy, Origin) -> usize,
) -> bool {
    let Some((first, rest)) = copies.split_first() else {
        return true;
    };
    first.origins.iter().any(|origin| {
        let is_shared = matches!(origin, Origin::Shared(_));
        if is_shared && !first.is_final {
            return can_be_explained(rest, taken, limit);
        }
        let is_same = |(session, other): &&(usize, Origin)| other == origin && (is_shared || *session == first.session);
        if taken.iter().filter(is_same).count() >= limit(first, *origin) {
            return false;
        }
        taken.push((first.session, *origin));
        let explained = can_be_explained(rest, taken, limit);
        taken.pop();
        explained
    })
}

fn seen(rule: &'static str, session: usize, delivery: &Delivery) -> Violation {
    Violation::new(rule, format!("session {session}: {delivery:?}"))
}
