//! Wills: a client that took its leave, and whose leave the broker had taken before anything was done to it, has none.
//! That one which is due arrives is for [`loss`](super::loss), that it is no other's for [`origin`](super::origin).

use super::index::{Connection, Index};
use super::{Rule, Violation};

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for session in &index.sessions {
        for delivery in &session.deliveries {
            let Some(message) = delivery.message else { continue };
            let will = index.publications.get(message).filter(|p| p.is_will);
            let connection = will.and_then(|will| index.connections.get(&will.connection));
            if let Some(connection) = connection.filter(|connection| has_surely_left(index, connection)) {
                violations.push(Violation {
                    rule: Rule::Wills,
                    client: session.client_id.to_owned(),
                    message: Some(message.clone()),
                    seen: "the will of a client that had disconnected".to_owned(),
                    lines: connection.disconnecting.into_iter().chain([delivery.line]).collect(),
                });
            }
        }
    }
    violations
}

/// The broker closed the connection behind DISCONNECT, and had no other reason to.
fn has_surely_left(index: &Index<'_>, connection: &Connection<'_>) -> bool {
    let (Some(disconnecting), Some((closed, None))) = (connection.disconnecting, connection.closed) else {
        return false;
    };
    let (from_us, to_us) = (index.at_us(connection.opening), index.at_us(closed));
    disconnecting < closed && connection.superseded.is_none() && !index.has_trouble(from_us, to_us)
}
