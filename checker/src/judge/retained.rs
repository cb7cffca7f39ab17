//! Retained: who subscribes gets what was retained last among all that had been acknowledged, or what was under way.
//!
//! One write comes after another when it was sent after the other was acknowledged, or, by the same client, after the other
//! was sent for the last time: a broker keeps the order of one publisher to one topic, and does again what is repeated at
//! QoS 1. Among those that nothing is known to come after, any may be it.

use super::index::{Delivery, Index, RetainedWrite, Session, Subscription};
use super::matching::matches;
use super::{Rule, Violation};
use crate::history::Line;

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for session in &index.sessions {
        for delivery in session.deliveries.iter().filter(|d| d.retain) {
            violations.extend(outdated(index, session, delivery));
        }
        for subscription in &session.subscriptions {
            violations.extend(missing(index, session, subscription));
        }
    }
    violations
}

/// Whether `later` surely comes after `earlier`.
fn comes_after(later: &RetainedWrite<'_>, earlier: &RetainedWrite<'_>) -> bool {
    let is_behind = earlier.acknowledged.is_some_and(|line| line < later.sent);
    is_behind || later.client_id == earlier.client_id && later.sent > earlier.repeated
}

/// The write that surely comes after `write` and was surely done at `line`.
fn overwritten<'i, 'h>(
    writes: &'i [RetainedWrite<'h>],
    write: &RetainedWrite<'h>,
    line: Line,
) -> Option<&'i RetainedWrite<'h>> {
    let is_done = |w: &RetainedWrite<'_>| w.acknowledged.is_some_and(|at| at < line);
    writes.iter().find(|later| is_done(later) && comes_after(later, write))
}

/// A retained message that was another's place before the session asked for it.
fn outdated(index: &Index<'_>, session: &Session<'_>, delivery: &Delivery<'_>) -> Option<Violation> {
    let message = delivery.message?;
    let writes = index.retained.get(delivery.topic)?;
    let write = writes.iter().find(|write| write.value == Some(message))?;
    let asked = |s: &&Subscription<'_>| s.asked < delivery.line && matches(s.filter, delivery.topic);
    let mut overwriting = None;
    for subscription in session.subscriptions.iter().filter(asked) {
        overwriting = Some(overwritten(writes, write, subscription.asked)?);
    }
    let later = overwriting?;
    Some(Violation {
        rule: Rule::Retained,
        client: session.client_id.to_owned(),
        message: Some(message.clone()),
        seen: match later.value {
            Some(value) => format!("retained, though {value} had taken its place"),
            None => "retained, though it had been cleared".to_owned(),
        },
        lines: [Some(write.sent), later.acknowledged, Some(delivery.line)]
            .into_iter()
            .flatten()
            .collect(),
    })
}

/// Topics of which a subscription was given nothing, though something is surely retained there. Asked of connections
/// that were open to the end and subscribed when nobody wrote any more: what comes is then all there is.
fn missing(index: &Index<'_>, session: &Session<'_>, subscription: &Subscription<'_>) -> Vec<Violation> {
    let connection = index.connections.get(&subscription.connection);
    let (Some(at_rest), Some(acknowledged)) = (connection.and_then(|c| c.at_rest), subscription.acknowledged) else {
        return Vec::new();
    };
    let mut violations = Vec::new();
    let filter = subscription.filter;
    for (topic, writes) in index.retained.iter().filter(|(topic, _)| matches(filter, topic)) {
        let is_quiet = writes
            .iter()
            .all(|w| w.acknowledged.is_some_and(|at| at < subscription.asked));
        let last: Vec<_> = writes
            .iter()
            .filter(|write| overwritten(writes, write, subscription.asked).is_none())
            .collect();
        if !is_quiet || last.is_empty() || last.iter().any(|write| write.value.is_none()) {
            continue;
        }
        let is_given = |d: &Delivery<'_>| d.retain && d.topic == *topic && d.line > subscription.asked;
        if !session.deliveries.iter().any(is_given) {
            violations.push(Violation {
                rule: Rule::Retained,
                client: session.client_id.to_owned(),
                message: last.first().and_then(|write| write.value).cloned(),
                seen: "retained, and not given to who subscribed".to_owned(),
                lines: vec![subscription.asked, acknowledged, at_rest],
            });
        }
    }
    violations
}
