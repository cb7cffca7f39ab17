//! How many clients a change will move, and for how long: said before it happens, and until it has.
//!
//! Called with the status. A rollout moves the clients of all other revisions, whenever it comes to that; a scale-in those of
//! its victims; a cordoned node those of its proxies, as soon as others can take them. Leaves out what nobody decides on: pods
//! that are deleted by somebody else, and nodes that die.

use std::time::Duration;

use freshet_operator_api::{PendingDisruption, RevisionPhase};

use crate::observe::{Observed, ProxyPod, Role};
use crate::plan::{ProxyAction, ProxyPlan};
use crate::rollout::Loads;

/// What is known of drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTimes {
    /// How long a proxy goes on accepting before it begins.
    pub linger: Duration,
    /// The longest that it takes.
    pub timeout: Duration,
    /// Clients that all of them together hand over in a second at most.
    pub max_per_second: u32,
}

/// Says what is still to be moved; nothing where no change moves anybody.
pub fn pending_disruption(
    observed: &Observed,
    plan: &ProxyPlan,
    target: &str,
    loads: &Loads,
    times: DrainTimes,
) -> Option<PendingDisruption> {
    let is_victim = |proxy: &ProxyPod| {
        plan.actions.iter().any(
            |action| matches!(action, ProxyAction::SetRole { pod, role: Role::Draining, .. } if *pod == proxy.pod.name),
        )
    };
    let is_rolling = plan.phase != RevisionPhase::Stable;
    let is_on_cordoned = |proxy: &&ProxyPod| plan.on_cordoned.contains(&proxy.pod.name);
    let moves = |proxy: &&ProxyPod| {
        let gives_way = is_rolling && proxy.revision != target || is_on_cordoned(proxy);
        gives_way && proxy.is_active() || proxy.role == Some(Role::Draining) || is_victim(proxy)
    };
    let movers: Vec<&ProxyPod> = observed.proxies.iter().filter(moves).collect();
    if movers.is_empty() {
        return None;
    }
    let loads = movers.iter().filter_map(|proxy| loads.get(&proxy.pod.uid));
    let clients = loads.filter_map(|load| load.clients).fold(0, u64::saturating_add);
    let moving_s = clients.div_ceil(u64::from(times.max_per_second.max(1)));
    let cause = match plan.phase {
        RevisionPhase::Stable if movers.iter().any(is_on_cordoned) => "NodeDrain",
        RevisionPhase::Stable => "ScaleIn",
        RevisionPhase::RollingBack => "Rollback",
        _ => "Rollout",
    };
    Some(PendingDisruption {
        clients,
        estimated_seconds: times.linger.as_secs() + moving_s.min(times.timeout.as_secs()),
        cause: cause.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use freshet_load::Load;

    use super::*;
    use crate::plan::MovesPlan;
    use crate::rollout::{Pace, proxy_for_tests as proxy};

    const TIMES: DrainTimes = DrainTimes {
        linger: Duration::from_secs(5),
        timeout: Duration::from_secs(300),
        max_per_second: 500,
    };

    fn plan(phase: RevisionPhase, victims: &[&str]) -> ProxyPlan {
        let victim = |pod: &&str| ProxyAction::SetRole {
            pod: (*pod).to_owned(),
            resource_version: String::new(),
            role: Role::Draining,
            accepting: false,
            deletion_cost: 0,
            is_change: true,
            config_hash: None,
            mark: None,
            ends_order: false,
        };
        ProxyPlan {
            actions: victims.iter().map(victim).collect(),
            target_replicas: 2,
            target_replicas_were: Some(2),
            warm: 0,
            promotable: 0,
            phase,
            moves: MovesPlan::default(),
            pace: Pace::free(),
            on_cordoned: BTreeSet::new(),
            cut_off: BTreeSet::new(),
        }
    }

    fn pending(phase: RevisionPhase, victims: &[&str]) -> Option<PendingDisruption> {
        pending_of(&plan(phase, victims))
    }

    fn pending_of(plan: &ProxyPlan) -> Option<PendingDisruption> {
        let observed = Observed {
            proxies: vec![
                proxy("a1", "a", true),
                proxy("a2", "a", true),
                proxy("a3", "a", false),
                proxy("b1", "b", true),
            ],
            ..Observed::default()
        };
        let load = |clients: u64| Load {
            clients: Some(clients),
            ..Load::default()
        };
        let loads: Loads = [("a1", 4_000), ("a2", 1_200), ("b1", 7)]
            .map(|(uid, clients)| (uid.to_owned(), load(clients)))
            .into();
        pending_disruption(&observed, plan, "b", &loads, TIMES)
    }

    fn disruption(clients: u64, estimated_seconds: u64, cause: &str) -> PendingDisruption {
        PendingDisruption {
            clients,
            estimated_seconds,
            cause: cause.to_owned(),
        }
    }

    #[test]
    fn a_rollout_says_before_it_moves_them_how_many_clients_the_others_have() {
        for phase in [RevisionPhase::Warming, RevisionPhase::Canary, RevisionPhase::Paused] {
            // 500 a second of all together, after 5 s.
            assert_eq!(pending(phase, &[]), Some(disruption(5_200, 16, "Rollout")), "{phase:?}");
        }
    }

    #[test]
    fn a_scale_in_moves_the_clients_of_its_victims() {
        assert_eq!(
            pending(RevisionPhase::Stable, &["a2"]),
            Some(disruption(1_200, 8, "ScaleIn"))
        );
    }

    #[test]
    fn a_cordoned_node_moves_the_clients_of_its_proxies_before_these_leave_and_after() {
        let of_node = |phase, victims: &[&str]| {
            pending_of(&ProxyPlan {
                on_cordoned: ["a2".to_owned(), "a3".to_owned()].into(),
                ..plan(phase, victims)
            })
        };
        let stable = RevisionPhase::Stable;
        assert_eq!(of_node(stable, &[]), Some(disruption(1_200, 8, "NodeDrain")));
        assert_eq!(of_node(stable, &["a2"]), Some(disruption(1_200, 8, "NodeDrain")));
        assert_eq!(of_node(stable, &["a1", "a2"]), Some(disruption(5_200, 16, "NodeDrain")));
        let rolling = of_node(RevisionPhase::Warming, &[]);
        assert_eq!(rolling, Some(disruption(5_200, 16, "Rollout")));
    }

    #[test]
    fn without_a_change_nothing_is_said() {
        assert_eq!(pending(RevisionPhase::Stable, &[]), None);
    }

    #[test]
    fn clients_of_one_that_hands_over_are_still_to_be_moved() {
        let mut leaving = proxy("a1", "a", true);
        leaving.role = Some(Role::Draining);
        let observed = Observed {
            proxies: vec![leaving, proxy("a2", "a", true)],
            ..Observed::default()
        };
        let load = |clients: u64| Load {
            clients: Some(clients),
            ..Load::default()
        };
        let loads: Loads = [("a1", 900), ("a2", 100)]
            .map(|(uid, clients)| (uid.to_owned(), load(clients)))
            .into();
        let of_phase = |phase| pending_disruption(&observed, &plan(phase, &[]), "a", &loads, TIMES);
        assert_eq!(of_phase(RevisionPhase::Stable), Some(disruption(900, 7, "ScaleIn")));
        let rolling_back = pending_disruption(&observed, &plan(RevisionPhase::RollingBack, &[]), "b", &loads, TIMES);
        assert_eq!(rolling_back, Some(disruption(1_000, 7, "Rollback")));
    }
}
