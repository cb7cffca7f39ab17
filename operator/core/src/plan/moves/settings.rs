//! How clients are moved, read from the resource: by the reconcile once it has been validated, and once a second without.

use freshet_operator_api::{Proxy, RebalanceMode};

use super::MoveSettings;
use crate::units::parse_duration;

impl MoveSettings {
    /// None: the resource says what it should not, and its condition says what.
    pub fn read(proxy: &Proxy) -> Option<Self> {
        let drain = &proxy.drain;
        let rebalance = &proxy.rebalance;
        Some(Self {
            steers: rebalance.mode == RebalanceMode::Steered,
            within_percent: rebalance.within_percent,
            rebalance_max_per_second: rebalance.max_moves_per_second,
            drain_max_per_second: drain.max_moves_per_second,
            connack_p99_limit: parse_duration(&drain.connack_p99_limit.0).ok()?,
            server_reference: rebalance.server_reference.clone(),
            linger: parse_duration(&drain.linger.0).ok()?,
            timeout: parse_duration(&drain.timeout.0).ok()?,
        })
    }
}
