//! The PodDisruptionBudget of the active proxies.
//!
//! An integer `minAvailable`: with a percentage or `maxUnavailable` the disruption controller expects as many active pods
//! as the Deployments have replicas, and pods that are not active would block every node drain for good.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, number};
use crate::labels;
use crate::names;
use crate::validate::ValidatedCluster;

/// Decides how many active proxies a node drain must leave: all but a quarter, and at least one may go.
///
/// A lower number is written before a scale-in, a higher one after a scale-out: until `active` proxies are there, the
/// number stays what it `was`, and it does not fall when proxies fail.
pub fn min_available(desired: u32, active: u32, was: Option<u32>) -> u32 {
    let leave = |proxies: u32| proxies.saturating_sub((proxies / 4).max(1));
    let wanted = leave(desired);
    let reached = leave(desired.min(active)).max(was.unwrap_or(0));
    wanted.min(reached)
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
        let settled = |desired| min_available(desired, desired, None);
        assert_eq!([0, 1, 2, 3, 4, 8, 12].map(settled), [0, 0, 1, 2, 3, 6, 9]);
    }

    #[test]
    fn scale_out_raises_it_only_as_proxies_become_active() {
        assert_eq!(min_available(8, 2, Some(1)), 1);
        assert_eq!(min_available(8, 5, Some(1)), 4);
        assert_eq!(min_available(8, 8, Some(4)), 6);
    }

    #[test]
    fn scale_in_lowers_it_first() {
        assert_eq!(min_available(2, 8, Some(6)), 1);
    }

    #[test]
    fn failing_proxies_do_not_lower_it() {
        assert_eq!(min_available(4, 1, Some(3)), 3);
    }
}
