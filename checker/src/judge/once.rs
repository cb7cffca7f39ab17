//! QoS 2: each message once for a session, and a packet id for one message until it is released.
//!
//! What comes again under a packet id that the client has is no second message: the index has passed it over.

use std::collections::BTreeMap;

use super::index::Index;
use super::{Rule, Violation};
use crate::history::{Line, Message};

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for session in &index.sessions {
        let mut first: BTreeMap<&Message, Line> = BTreeMap::new();
        for delivery in session.deliveries.iter().filter(|d| d.qos == 2 && !d.retain) {
            let Some(message) = delivery.message else { continue };
            if let Some(line) = first.insert(message, delivery.line) {
                violations.push(Violation {
                    rule: Rule::ExactlyOnce,
                    client: session.client_id.to_owned(),
                    message: Some(message.clone()),
                    seen: "delivered twice at QoS 2".to_owned(),
                    lines: vec![line, delivery.line],
                });
            }
        }
    }
    for (connection, line, message) in &index.reused_packet_ids {
        violations.push(Violation {
            rule: Rule::ExactlyOnce,
            client: index.client_of(*connection),
            message: Some((*message).clone()),
            seen: "a packet id stands for another message before PUBREL".to_owned(),
            lines: vec![*line],
        });
    }
    violations
}
