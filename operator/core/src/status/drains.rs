//! `status.proxy.drains`: which proxies hand over their clients, and how far they are.

use freshet_operator_api::{DrainReason, DrainStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::plan::{Drain, MovesPlan};

/// Drains that status lists at most; `drainsTotal` counts all.
const DRAINS_MAX: usize = 10;

/// The drains to list, those with most clients first, and how many there are.
pub(super) fn drains(moves: &MovesPlan, target_revision: &str) -> (Vec<DrainStatus>, u32) {
    let mut all: Vec<&Drain> = moves.drains.iter().collect();
    all.sort_by(|a, b| b.clients_left.cmp(&a.clients_left).then_with(|| a.pod.cmp(&b.pod)));
    let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let listed = all
        .into_iter()
        .take(DRAINS_MAX)
        .map(|drain| shown(drain, target_revision));
    (listed.collect(), total)
}

fn shown(drain: &Drain, target_revision: &str) -> DrainStatus {
    let seconds = i64::try_from(drain.started_ms / 1_000).unwrap_or(0);
    DrainStatus {
        pod: drain.pod.clone(),
        reason: if drain.revision == target_revision {
            DrainReason::ScaleIn
        } else {
            DrainReason::Rollout
        },
        started_at: Timestamp::from_second(seconds).ok().filter(|_| seconds > 0).map(Time),
        clients_left: drain.clients_left,
        inflight: drain.finishing,
        sessions_at_risk: drain.at_risk,
        moves_per_second: drain.per_second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_are_listed_and_all_are_counted() {
        let drain = |index: u64| Drain {
            uid: String::new(),
            pod: format!("pod-{index:02}"),
            revision: if index == 11 { "old" } else { "new" }.to_owned(),
            started_ms: 1_795_000_000_123,
            clients_left: Some(index),
            finishing: 1,
            at_risk: 0,
            per_second: 7,
            end: None,
            is_told: false,
        };
        let moves = MovesPlan {
            drains: (0..12).map(drain).collect(),
            ..MovesPlan::default()
        };
        let (listed, total) = drains(&moves, "new");
        assert_eq!((listed.len(), total), (10, 12));
        assert_eq!(
            (listed[0].pod.as_str(), listed[0].reason),
            ("pod-11", DrainReason::Rollout)
        );
        assert_eq!(listed[1].reason, DrainReason::ScaleIn);
        assert_eq!(
            listed[0].started_at.as_ref().map(|at| at.0.as_second()),
            Some(1_795_000_000)
        );
    }

    #[test]
    fn a_drain_whose_order_is_not_written_has_not_begun() {
        let drain = Drain {
            uid: String::new(),
            pod: "p".to_owned(),
            revision: "r".to_owned(),
            started_ms: 0,
            clients_left: None,
            finishing: 0,
            at_risk: 0,
            per_second: 0,
            end: None,
            is_told: false,
        };
        assert_eq!(shown(&drain, "r").started_at, None);
    }
}
