//! `status.proxy.drains`: which proxies hand over their clients, and how far they are.

use freshet_operator_api::{DrainReason, DrainStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::plan::{Drain, ProxyPlan};

/// Drains that status lists at most; `drainsTotal` counts all.
const DRAINS_MAX: usize = 10;

/// The drains to list, those with most clients first, and how many there are. `known` are those that were listed before.
pub(super) fn drains(plan: &ProxyPlan, target_revision: &str, known: &[DrainStatus]) -> (Vec<DrainStatus>, u32) {
    let mut all: Vec<&Drain> = plan.moves.drains.iter().collect();
    all.sort_by(|a, b| b.clients_left.cmp(&a.clients_left).then_with(|| a.pod.cmp(&b.pod)));
    let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let listed = all
        .into_iter()
        .take(DRAINS_MAX)
        .map(|drain| shown(drain, plan, target_revision, known));
    (listed.collect(), total)
}

fn shown(drain: &Drain, plan: &ProxyPlan, target_revision: &str, known: &[DrainStatus]) -> DrainStatus {
    let seconds = i64::try_from(drain.started_ms / 1_000).unwrap_or(0);
    let started_at = Timestamp::from_second(seconds).ok().filter(|_| seconds > 0).map(Time);
    // What it began for stays: a node may take pods again before its proxies have handed over.
    let is_it =
        |known: &&DrainStatus| known.pod == drain.pod && (known.started_at.is_none() || known.started_at == started_at);
    let reason = match known.iter().find(is_it) {
        Some(known) => known.reason,
        None if plan.cut_off.contains(&drain.pod) => DrainReason::CutOffFromStorage,
        None if drain.revision != target_revision => DrainReason::Rollout,
        None if plan.on_cordoned.contains(&drain.pod) => DrainReason::NodeDrain,
        None => DrainReason::ScaleIn,
    };
    DrainStatus {
        pod: drain.pod.clone(),
        reason,
        started_at,
        clients_left: drain.clients_left,
        inflight: drain.finishing,
        sessions_at_risk: drain.at_risk,
        moves_per_second: drain.per_second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Observed;
    use crate::plan::{MovesPlan, keep_serving};

    fn drain(pod: &str, revision: &str, clients_left: u64) -> Drain {
        Drain {
            uid: String::new(),
            pod: pod.to_owned(),
            revision: revision.to_owned(),
            started_ms: 1_795_000_000_123,
            clients_left: Some(clients_left),
            finishing: 1,
            at_risk: 0,
            per_second: 7,
            end: None,
            is_told: false,
        }
    }

    fn plan(drains: Vec<Drain>) -> ProxyPlan {
        ProxyPlan {
            moves: MovesPlan {
                drains,
                ..MovesPlan::default()
            },
            ..keep_serving(&Observed::default(), None)
        }
    }

    #[test]
    fn ten_are_listed_and_all_are_counted() {
        let all = (0..12).map(|index| drain(&format!("pod-{index:02}"), "new", index));
        let (listed, total) = drains(&plan(all.collect()), "new", &[]);
        assert_eq!((listed.len(), total), (10, 12));
        assert_eq!((listed[0].pod.as_str(), listed[9].pod.as_str()), ("pod-11", "pod-02"));
        assert_eq!(
            listed[0].started_at.as_ref().map(|at| at.0.as_second()),
            Some(1_795_000_000)
        );
    }

    #[test]
    fn each_says_what_it_began_for() {
        use DrainReason::{NodeDrain, Rollout, ScaleIn};
        let mut plan = plan(vec![drain("a", "new", 3), drain("b", "old", 2), drain("c", "new", 1)]);
        plan.on_cordoned = ["c".to_owned()].into();
        let reasons = |listed: &[DrainStatus]| listed.iter().map(|drain| drain.reason).collect::<Vec<_>>();
        let (known, _) = drains(&plan, "new", &[]);
        assert_eq!(reasons(&known), [ScaleIn, Rollout, NodeDrain]);
        // The node takes pods again, another one does not, and the revision is asked for again.
        plan.on_cordoned = ["a".to_owned()].into();
        assert_eq!(reasons(&drains(&plan, "old", &known).0), [ScaleIn, Rollout, NodeDrain]);
        // One that was taken back and leaves again does so for something else.
        plan.moves
            .drains
            .iter_mut()
            .for_each(|drain| drain.started_ms += 60_000);
        assert_eq!(reasons(&drains(&plan, "new", &known).0), [NodeDrain, Rollout, ScaleIn]);
    }

    #[test]
    fn one_that_is_cut_off_from_storage_leaves_for_that_whatever_else_is_asked_for() {
        use DrainReason::{CutOffFromStorage, ScaleIn};
        let mut plan = plan(vec![drain("a", "new", 3), drain("b", "old", 2), drain("c", "new", 1)]);
        plan.cut_off = ["a".to_owned(), "b".to_owned()].into();
        plan.on_cordoned = ["a".to_owned()].into();
        let (known, _) = drains(&plan, "new", &[]);
        let reasons = |listed: &[DrainStatus]| listed.iter().map(|drain| drain.reason).collect::<Vec<_>>();
        assert_eq!(reasons(&known), [CutOffFromStorage, CutOffFromStorage, ScaleIn]);
        // They have storage again, and another has lost it while it leaves.
        plan.cut_off = ["c".to_owned()].into();
        let (later, _) = drains(&plan, "new", &known);
        assert_eq!(reasons(&later), [CutOffFromStorage, CutOffFromStorage, ScaleIn]);
    }

    #[test]
    fn a_drain_whose_order_is_not_written_has_not_begun() {
        let mut drain = drain("p", "r", 0);
        drain.started_ms = 0;
        let (listed, _) = drains(&plan(vec![drain.clone()]), "r", &[]);
        assert_eq!(listed[0].started_at, None);
        drain.started_ms = 1_795_000_000_123;
        let (listed, _) = drains(&plan(vec![drain]), "another", &listed);
        assert_eq!(listed[0].reason, DrainReason::ScaleIn, "it has begun now");
    }
}
