//! The order by which a proxy gives clients away: what the operator writes into the annotation `freshet.dev/moves` of its
//! pod, and what the kubelet shows the proxy as a file.
//!
//! An order stands for itself: a proxy that has it goes on without the operator, until the order is over.

use serde::{Deserialize, Serialize};

/// What a proxy is asked to give away. A proxy without an order gives nobody away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MoveOrder {
    /// Why, and what follows from it.
    pub reason: MoveReason,
    /// Clients that stay.
    pub keep: u64,
    /// Clients per second; 0: nobody for now.
    pub clients_per_second: u32,
    /// When the order was first given, in milliseconds since the Unix epoch.
    pub given_ms: u64,
    /// Nobody goes before: until then Services may still send new connections here. As `given_ms`.
    pub from_ms: u64,
    /// The order is over then, whether anybody has withdrawn it or not. As `given_ms`.
    pub until_ms: u64,
    /// When this form of it was written. As `given_ms`.
    pub written_ms: u64,
    /// Active proxies it was made for; another number of them asks for another order.
    #[serde(skip_serializing_if = "is_zero")]
    pub proxies: u32,
    /// Clients of all of them when it was given.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub clients: u64,
    /// Where clients of MQTT 5.0 are told to go, in turn; none: they are not told. At most [`REFERENCES_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_references: Vec<String>,
}

/// Server references that an order has at most.
pub const REFERENCES_MAX: usize = 4;

/// Why clients are given away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveReason {
    /// The proxy is to go: all its clients leave it.
    #[default]
    Drain,
    /// The proxy has more than its share. Clients that come after the order was given stay.
    Rebalance,
}

// As serde asks for it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_small_and_says_what_it_was_told() {
        let order = MoveOrder {
            reason: MoveReason::Rebalance,
            keep: 500,
            clients_per_second: 120,
            given_ms: 1_795_000_000_000,
            ..MoveOrder::default()
        };
        let text = serde_json::to_string(&order).unwrap();
        assert!(text.len() < 256 && text.contains(r#""reason":"Rebalance""#), "{text}");
        assert_eq!(serde_json::from_str::<MoveOrder>(&text).unwrap(), order);
    }

    #[test]
    fn what_a_later_operator_adds_is_passed_over_and_another_reason_is_not() {
        let order: MoveOrder = serde_json::from_str(r#"{"keep": 7, "colour": "blue"}"#).unwrap();
        assert_eq!((order.keep, order.reason), (7, MoveReason::Drain));
        assert!(serde_json::from_str::<MoveOrder>(r#"{"reason": "Whim"}"#).is_err());
    }
}
