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
use crate::observe::Observed;
use crate::validate::ValidatedCluster;

/// Decides how many active proxies a node drain must leave: all but a quarter, and at least one may go.
///
/// All must stay while two of them `share_a_node`: one that is evicted would hand clients to the other, which is evicted
/// next. The plan has those of a cordoned node leave together, and then they count no more. Who does not know which nodes
/// are cordoned says that none is shared: a drain would never end otherwise.
///
/// A lower number is written before a scale-in, a higher one after a scale-out: until `active` proxies are there, the
/// number stays what it `was`, and it does not fall when proxies fail.
pub fn min_available(desired: u32, active: u32, share_a_node: bool, was: Option<u32>) -> u32 {
    let may_go = |proxies: u32| if share_a_node { 0 } else { (proxies / 4).max(1) };
    let leave = |proxies: u32| proxies.saturating_sub(may_go(proxies));
    let wanted = leave(desired);
    let reached = leave(desired.min(active)).max(was.unwrap_or(0));
    wanted.min(reached)
}

/// Whether a node has two active proxies.
pub fn share_a_node(observed: &Observed) -> bool {
    let active = observed.proxies.iter().filter(|proxy| proxy.is_active());
    let mut nodes = BTreeSet::new();
    active
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

    #[test]
    fn a_quarter_and_at_least_one_may_go() {
        let settled = |desired| min_available(desired, desired, false, None);
        assert_eq!([0, 1, 2, 3, 4, 8, 12].map(settled), [0, 0, 1, 2, 3, 6, 9]);
    }

    #[test]
    fn scale_out_raises_it_only_as_proxies_become_active() {
        assert_eq!(min_available(8, 2, false, Some(1)), 1);
        assert_eq!(min_available(8, 5, false, Some(1)), 4);
        assert_eq!(min_available(8, 8, false, Some(4)), 6);
    }

    #[test]
    fn scale_in_lowers_it_first() {
        assert_eq!(min_available(2, 8, false, Some(6)), 1);
    }

    #[test]
    fn failing_proxies_do_not_lower_it() {
        assert_eq!(min_available(4, 1, false, Some(3)), 3);
    }

    #[test]
    fn two_share_a_node_when_both_serve_there() {
        let on = |uid: &str, is_active: bool, node: &str| {
            let mut proxy = crate::rollout::proxy_for_tests(uid, "a", is_active);
            proxy.pod.node = Some(node.to_owned());
            proxy
        };
        let share = |proxies| {
            share_a_node(&Observed {
                proxies,
                ..Observed::default()
            })
        };
        assert!(share(vec![on("1", true, "n1"), on("2", true, "n1")]));
        assert!(!share(vec![
            on("1", true, "n1"),
            on("2", true, "n2"),
            on("3", false, "n1")
        ]));
    }

    #[test]
    fn nobody_may_go_while_two_share_a_node() {
        assert_eq!(
            [0, 1, 2, 4, 8].map(|all| min_available(all, all, true, None)),
            [0, 1, 2, 4, 8]
        );
        assert_eq!(min_available(4, 4, false, Some(4)), 3, "they do not any more");
        assert_eq!(
            min_available(4, 2, true, Some(3)),
            3,
            "two have left for others that come"
        );
        assert_eq!(min_available(2, 4, true, Some(4)), 2);
    }
}
