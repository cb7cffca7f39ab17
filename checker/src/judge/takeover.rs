//! Takeover: once the new connection is let in the old one is served no more.
//!
//! What was on its way to the old one may still be read there. But nothing that is sent on it afterwards is answered,
//! nothing that is published afterwards is delivered on it, and what is published on it afterwards reaches nobody.

use std::collections::BTreeMap;

use super::index::Index;
use super::{Rule, Violation};
use crate::history::{ConnectionNumber, Line, Message, What};

/// What waits for an answer: packets with a packet id, by what answers them, and PINGREQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Awaited {
    Answer(u16),
    /// PUBREL for a PUBREC of the client.
    Release(u16),
    Pong,
}

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = served_after(index);
    for session in &index.sessions {
        for delivery in &session.deliveries {
            let Some(message) = delivery.message else { continue };
            let publication = index.publications.get(message).filter(|p| !p.is_will);
            let Some(publication) = publication else { continue };
            let publisher = index.connections.get(&publication.connection);
            if let Some(superseded) = publisher.and_then(|c| c.superseded)
                && superseded < publication.sent
            {
                let seen = "published on a connection that had been taken over, and delivered";
                let lines = vec![superseded, publication.sent, delivery.line];
                violations.push(violation(session.client_id, Some(message), seen, lines));
            }
        }
    }
    violations
}

/// Answers and deliveries on connections that were taken over.
fn served_after(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut asked: BTreeMap<(ConnectionNumber, Awaited), Line> = BTreeMap::new();
    for (line, event) in index.history.events.iter().enumerate() {
        let Some(connection) = index.connections.get(&event.connection) else {
            continue;
        };
        let Some(superseded) = connection.superseded else {
            continue;
        };
        let number = connection.number;
        let answers = match &event.what {
            What::Publishing { packet_id, .. }
            | What::Releasing { packet_id }
            | What::Subscribing { packet_id, .. }
            | What::Unsubscribing { packet_id, .. } => {
                asked.insert((number, Awaited::Answer(*packet_id)), line);
                continue;
            }
            What::Recording { packet_id } => {
                asked.insert((number, Awaited::Release(*packet_id)), line);
                continue;
            }
            What::Pinging => {
                asked.entry((number, Awaited::Pong)).or_insert(line);
                continue;
            }
            What::PubAck { packet_id, .. }
            | What::PubRec { packet_id, .. }
            | What::PubComp { packet_id, .. }
            | What::SubAck { packet_id, .. }
            | What::UnsubAck { packet_id } => Awaited::Answer(*packet_id),
            What::Released { packet_id } => Awaited::Release(*packet_id),
            What::Pinged => Awaited::Pong,
            What::Received { message, .. } => {
                let sent = message.as_ref().and_then(|m| index.publications.get(m)).map(|p| p.sent);
                if let Some(sent) = sent.filter(|sent| *sent > superseded) {
                    let seen = "published after the takeover, and delivered on the old connection";
                    let lines = vec![superseded, sent, line];
                    violations.push(violation(connection.client_id, message.as_ref(), seen, lines));
                }
                continue;
            }
            _ => continue,
        };
        if let Some(sent) = asked.remove(&(number, answers)).filter(|sent| *sent > superseded) {
            let seen = "sent on the old connection after the takeover, and answered";
            violations.push(violation(
                connection.client_id,
                None,
                seen,
                vec![superseded, sent, line],
            ));
        }
    }
    violations
}

fn violation(client: &str, message: Option<&Message>, seen: &str, lines: Vec<Line>) -> Violation {
    Violation {
        rule: Rule::TakeoverExclusive,
        client: client.to_owned(),
        message: message.cloned(),
        seen: seen.to_owned(),
        lines,
    }
}
