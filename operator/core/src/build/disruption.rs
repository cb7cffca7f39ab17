//! The PodDisruptionBudget of the active proxies.
//!
//! An integer `minAvailable`: with a percentage or `maxUnavailable` the disruption controller expects as many active pods
//! as the Deployments have replicas, and pods that are not active would block every node drain for good.

use std::collections::BTreeSet;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, number};
use crate::labels;
use crate::names;
use crate::observe::{Observed, ProxyPod};
use crate::plan::ProxyPlan;
use crate::validate::ValidatedCluster;

/// Decides how many active proxies a node drain must leave: all but a quarter, and at least one may go.
///
/// All must stay while two of them share a node: one that is evicted would hand clients to the other, which is evicted
/// next. The plan has those of a cordoned node leave together, and then they count no more. Until they do, more may serve
/// than are asked for, and these must all stay, too. Who does not know which nodes are cordoned takes none to be shared: a
/// drain would never end otherwise.
///
/// It is written before the plan is carried out, and is for the proxies that are active then: one that is promoted for a
/// cordoned node lets nobody go.
pub fn min_available(observed: &Observed, plan: &ProxyPlan, desired: u32, knows_cordons: bool) -> u32 {
    let serving = plan.active_after(observed);
    let share_a_node = knows_cordons && share_a_node(&serving);
    let active = u32::try_from(serving.len()).unwrap_or(u32::MAX);
    // Two revisions may serve beside each other for as long as a rollout pauses: a drain does not wait for its end.
    let first = serving.first().map(|proxy| &proxy.revision);
    let are_alike = serving.iter().all(|proxy| Some(&proxy.revision) == first);
    let all = if share_a_node && are_alike {
        desired.max(active)
    } else {
        desired
    };
    least(all, active, share_a_node, observed.min_available)
}

/// A lower number is written before a scale-in, a higher one as proxies become active: until `active` ones are there, the
/// number stays what it `was`, and it does not fall when proxies fail.
fn least(desired: u32, active: u32, share_a_node: bool, was: Option<u32>) -> u32 {
    let may_go = |proxies: u32| if share_a_node { 0 } else { (proxies / 4).max(1) };
    let leave = |proxies: u32| proxies.saturating_sub(may_go(proxies));
    let wanted = leave(desired);
    let reached = leave(desired.min(active)).max(was.unwrap_or(0));
    wanted.min(reached)
}

/// Whether a node has two of these.
fn share_a_node(active: &[&ProxyPod]) -> bool {
    let mut nodes = BTreeSet::new();
    active
        .iter()
        .filter_map(|proxy| proxy.pod.node.as_deref())
        .any(|node| !nodes.insert(node))
}

pub(super) fn build(cluster: &ValidatedCluster, min_available: u32) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(
            cluster,
            names::proxy_disruption_budget(&cluster.name),
            labels::of_component(&cluster.name, labels::PROXY),
        ),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(number(min_available))),
            selector: Some(LabelSelector {
                match_labels: Some(labels::active_selector_labels(&cluster.name)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Role;
    use crate::plan::keep_serving;

    /// A proxy of a node.
    fn on(node: &str, name: &str, role: Role) -> ProxyPod {
        let mut proxy = ProxyPod::serving(name, "a");
        proxy.role = Some(role);
        proxy.is_accepting = role == Role::Active;
        proxy.pod.node = Some(node.to_owned());
        proxy
    }

    /// The number that `was`, for proxies that stay what they are.
    fn after(desired: u32, proxies: Vec<ProxyPod>, was: Option<u32>) -> u32 {
        let observed = Observed {
            proxies,
            min_available: was,
            ..Observed::default()
        };
        min_available(&observed, &keep_serving(&observed, None), desired, true)
    }

    #[test]
    fn a_quarter_and_at_least_one_may_go() {
        let settled = |desired| least(desired, desired, false, None);
        assert_eq!([0, 1, 2, 3, 4, 8, 12].map(settled), [0, 0, 1, 2, 3, 6, 9]);
    }

    #[test]
    fn scale_out_raises_it_only_as_proxies_become_active() {
        assert_eq!(least(8, 2, false, Some(1)), 1);
        assert_eq!(least(8, 5, false, Some(1)), 4);
        assert_eq!(least(8, 8, false, Some(4)), 6);
    }

    #[test]
    fn scale_in_lowers_it_first() {
        assert_eq!(least(2, 8, false, Some(6)), 1);
    }

    #[test]
    fn failing_proxies_do_not_lower_it() {
        assert_eq!(least(4, 1, false, Some(3)), 3);
    }

    #[test]
    fn nobody_may_go_while_two_share_a_node() {
        assert_eq!([0, 1, 2, 4, 8].map(|all| least(all, all, true, None)), [0, 1, 2, 4, 8]);
        assert_eq!(least(4, 4, false, Some(4)), 3, "they do not any more");
        assert_eq!(least(4, 2, true, Some(3)), 3, "two have left for others that come");
        assert_eq!(least(2, 4, true, Some(4)), 2);
    }

    #[test]
    fn two_share_a_node_when_both_serve_there() {
        use Role::{Active, Draining, Warm};
        let two = |one: (&str, Role), other: (&str, Role)| {
            after(2, vec![on(one.0, "1", one.1), on(other.0, "2", other.1)], None)
        };
        assert_eq!(two(("n1", Active), ("n1", Active)), 2);
        assert_eq!(two(("n1", Active), ("n2", Active)), 1);
        assert_eq!(two(("n1", Active), ("n1", Draining)), 0);
        assert_eq!(two(("n1", Active), ("n1", Warm)), 0);
    }

    #[test]
    fn none_of_those_that_serve_beside_others_may_go_until_they_leave_together() {
        let five = || {
            ["n1", "n1", "n1", "n2", "n2"]
                .into_iter()
                .zip(["1", "2", "3", "4", "5"])
        };
        let all = |role: Role| five().map(|(node, name)| on(node, name, role)).collect::<Vec<_>>();
        assert_eq!(after(4, all(Role::Active), Some(4)), 5);
        // Without knowledge of cordons they go one after the other.
        let observed = Observed {
            proxies: all(Role::Active),
            min_available: Some(3),
            ..Observed::default()
        };
        assert_eq!(min_available(&observed, &keep_serving(&observed, None), 4, false), 3);
        // A rollout may pause for days.
        let mut rolling = all(Role::Active);
        rolling[4].revision = "b".to_owned();
        assert_eq!(after(4, rolling, Some(4)), 4);
    }
}
