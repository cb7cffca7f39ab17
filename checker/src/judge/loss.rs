//! No loss: what was acknowledged reaches every session that had been confirmed a matching subscription before it was
//! sent, and has it still; and whoever is connected at the end has an answer to all that was asked on that connection.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Index, Publication, Session};
use super::present::forgotten;
use super::{Rule, Violation};
use crate::history::{ConnectionNumber, Line, Message, What};

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let forgotten = forgotten(index);
    for (at, session) in index
        .sessions
        .iter()
        .enumerate()
        .filter(|(_, session)| session.is_at_rest)
    {
        let mut given = BTreeSet::new();
        lost(index, session, &mut given, &mut violations);
        // What a session was owed that should be there still is owed to the one in its place.
        let mut before = forgotten.get(&at);
        while let Some(session) = before.and_then(|at| index.sessions.get(*at)) {
            lost(index, session, &mut given, &mut violations);
            before = before.and_then(|at| forgotten.get(at));
        }
    }
    unanswered(index, &mut violations);
    violations
}

/// Everything that a session has to have been given, in the order of its publication.
pub(super) fn due<'i>(
    index: &'i Index<'_>,
    session: &'i Session<'_>,
) -> impl Iterator<Item = (&'i Message, &'i Publication, Line, Line)> {
    index.publications.iter().filter_map(|(message, publication)| {
        let acknowledged = publication.acknowledged.filter(|_| publication.qos > 0)?;
        let subscription = session.surely_wants(&message.topic, publication.sent)?;
        Some((*message, publication, acknowledged, subscription.acknowledged?))
    })
}

/// What a session was not given, nor any of those whose deliveries are `given` already.
fn lost<'i>(
    index: &'i Index<'_>,
    session: &'i Session<'_>,
    given: &mut BTreeSet<&'i Message>,
    violations: &mut Vec<Violation>,
) {
    given.extend(
        session
            .deliveries
            .iter()
            .filter(|d| !d.retain)
            .filter_map(|d| d.message),
    );
    for (message, publication, acknowledged, subscribed) in due(index, session) {
        if given.contains(message) {
            continue;
        }
        let (rule, what) = if publication.is_will {
            (Rule::Wills, "the will of a client that hung up was not delivered")
        } else {
            (Rule::NoLoss, "acknowledged, and not delivered")
        };
        violations.push(Violation {
            rule,
            client: session.client_id.to_owned(),
            message: Some(message.clone()),
            seen: what.to_owned(),
            lines: vec![subscribed, publication.sent, acknowledged],
        });
    }
}

/// What a connection at rest still waits for.
fn unanswered(index: &Index<'_>, violations: &mut Vec<Violation>) {
    let mut open: BTreeMap<(ConnectionNumber, u16), (Line, Option<&Message>)> = BTreeMap::new();
    for (line, event) in index.history.events.iter().enumerate() {
        let connection = event.connection;
        match &event.what {
            What::Publishing {
                packet_id,
                message,
                qos,
                ..
            } if *qos > 0 => {
                open.insert((connection, *packet_id), (line, message.as_ref()));
            }
            What::Releasing { packet_id }
            | What::Subscribing { packet_id, .. }
            | What::Unsubscribing { packet_id, .. } => {
                open.insert((connection, *packet_id), (line, None));
            }
            // What PUBREC accepts goes on with PUBREL.
            What::PubRec { packet_id, .. }
            | What::PubAck { packet_id, .. }
            | What::PubComp { packet_id, .. }
            | What::SubAck { packet_id, .. }
            | What::UnsubAck { packet_id } => {
                open.remove(&(connection, *packet_id));
            }
            What::Malformed { error } => violations.push(Violation {
                rule: Rule::Protocol,
                client: index.client_of(connection),
                message: None,
                seen: format!("the broker sent what cannot be read: {error}"),
                lines: vec![line],
            }),
            _ => {}
        }
    }
    for ((number, packet_id), (line, message)) in open {
        if let Some(connection) = index.connections.get(&number)
            && let Some(at_rest) = connection.at_rest
        {
            violations.push(Violation {
                rule: Rule::Answered,
                client: connection.client_id.to_owned(),
                message: message.cloned(),
                seen: format!("packet id {packet_id} was never answered"),
                lines: vec![line, at_rest],
            });
        }
    }
}
