//! Origin: only what was published is delivered, under the topic it was published to, to sessions that asked for it,
//! and not at a higher QoS than it was published with.

use super::index::{Delivery, Index, Publication, Session};
use super::matching::matches;
use super::{Rule, Violation};

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for session in &index.sessions {
        for delivery in &session.deliveries {
            if let Some((seen, before)) = wrong(index, session, delivery) {
                violations.push(Violation {
                    rule: Rule::Origin,
                    client: session.client_id.to_owned(),
                    message: delivery.message.cloned(),
                    seen: seen.to_owned(),
                    lines: before.into_iter().chain([delivery.line]).collect(),
                });
            }
        }
    }
    violations
}

fn wrong(index: &Index<'_>, session: &Session<'_>, delivery: &Delivery<'_>) -> Option<(&'static str, Option<usize>)> {
    // An empty payload says nothing of where it comes from.
    let message = delivery.message?;
    let sent = |p: &&Publication| p.sent < delivery.line;
    let Some(publication) = index.publications.get(message).filter(sent) else {
        return Some(("delivered, and never published", None));
    };
    let seen = if delivery.topic != message.topic {
        "delivered under another topic"
    } else if delivery.qos > publication.qos {
        "delivered at a higher QoS than it was published with"
    } else if delivery.retain && !publication.retain {
        "delivered as a retained message, which it is not"
    } else if !is_wanted(session, delivery, publication) {
        "delivered to a session that was not subscribed"
    } else {
        return None;
    };
    Some((seen, Some(publication.sent)))
}

/// Whether some subscription may have brought it: asked for before, and not known to be over when it was published.
fn is_wanted(session: &Session<'_>, delivery: &Delivery<'_>, publication: &Publication) -> bool {
    session.subscriptions.iter().any(|s| {
        let was_over = s.unsubscribed.is_some_and(|line| line < publication.sent);
        s.asked < delivery.line && !was_over && matches(s.filter, delivery.topic)
    })
}
