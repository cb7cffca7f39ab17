//! Orders about clients, as writes to pods: called last by `plan_proxies`, since a pod is written once in a plan.

use super::ProxyAction;
use crate::observe::Observed;
use crate::plan::moves::MovesPlan;

/// Pushes the orders of the plan of moves. A pod that changes its role gets its order with the next plan; otherwise the
/// order goes with whether the pod gets connections, which must not come apart from it.
pub(super) fn push(actions: &mut Vec<ProxyAction>, observed: &Observed, moves: &MovesPlan) {
    for write in &moves.writes {
        let Some(proxy) = observed.proxies.iter().find(|proxy| proxy.pod.uid == write.uid) else {
            continue;
        };
        let own_role = actions.iter().position(|action| match action {
            ProxyAction::SetRole { pod, .. } => *pod == write.pod,
            _ => false,
        });
        if let Some(at) = own_role {
            match actions.get(at) {
                Some(ProxyAction::SetRole { is_change: false, .. }) if proxy.is_active() => {
                    actions.remove(at);
                }
                _ => continue,
            }
        }
        actions.push(ProxyAction::SetOrder {
            pod: write.pod.clone(),
            resource_version: write.resource_version.clone(),
            order: write.order.clone(),
            accepting: proxy
                .is_active()
                .then(|| !moves.is_steered(&write.uid) && proxy.loss.fault.is_none()),
        });
    }
}
