//! Order: what a publisher sends to one topic reaches a session in that order, seen by the first delivery of each.
//!
//! Of what was published before the session had subscribed, the first delivery may be one of a repetition, behind what was
//! published later: a publisher repeats what nobody has acknowledged. Only what a session was subscribed to all along counts.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Delivery, Index, Session};
use super::matching::matches;
use super::{Rule, Violation};
use crate::history::{Line, Message};

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for session in &index.sessions {
        let mut seen: BTreeSet<&Message> = BTreeSet::new();
        let mut highest: BTreeMap<(&str, &str), (u64, Line)> = BTreeMap::new();
        for delivery in session.deliveries.iter().filter(|d| !d.retain && d.qos > 0) {
            let Some(message) = delivery.message else { continue };
            if !seen.insert(message) || !is_in_order(index, session, delivery, message) {
                continue;
            }
            let stream = (message.publisher.as_str(), message.topic.as_str());
            let before = highest.entry(stream).or_insert((message.sequence, delivery.line));
            if before.0 > message.sequence {
                violations.push(Violation {
                    rule: Rule::Order,
                    client: session.client_id.to_owned(),
                    message: Some(message.clone()),
                    seen: format!("first delivered behind sequence {}", before.0),
                    lines: vec![before.1, delivery.line],
                });
            } else {
                *before = (message.sequence, delivery.line);
            }
        }
    }
    violations
}

/// Whether a message has a place in the order of what the session is given: no will, and subscribed to since before it was
/// published.
fn is_in_order(index: &Index<'_>, session: &Session<'_>, delivery: &Delivery<'_>, message: &Message) -> bool {
    let Some(publication) = index.publications.get(message).filter(|p| !p.is_will) else {
        return false;
    };
    session.subscriptions.iter().any(|s| {
        s.acknowledged.is_some_and(|line| line < publication.sent)
            && s.unsubscribing.is_none_or(|line| line > delivery.line)
            && matches(s.filter, delivery.topic)
    })
}
