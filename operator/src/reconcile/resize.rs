//! Raises what active proxies reserve on their nodes, in place, through the subresource `resize` of their pods, and lowers it
//! of those that wait again.
//!
//! Nothing waits for it: a proxy serves from the moment it has its label, with the limits it was born with. What the API
//! server refuses (a quota, a Kubernetes without the subresource) is remembered for the condition `ResizeDeferred` and asked
//! again after a while; what the node has no room for, the kubelet tries again by itself.

use freshet_operator_core::names;
use freshet_operator_core::plan::{ProxyAction, Reservation};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::refusals::Refusals;
use super::{ReconcileError, Reconciler, Work};
use crate::fault::FaultPoint;
use crate::write::WriteError;

/// Resizes that are under way at once.
const RESIZES_AT_ONCE: usize = 16;

/// What the API server said where it has no subresource.
const NOT_IN_PLACE: &str = "the API server does not resize pods in place, which needs Kubernetes 1.33: \
                            set spec.proxy.warm.reserve to true";

impl Reconciler {
    /// Carries out the resizes among `actions` that were not refused just now. Returns whether something has changed.
    pub(super) async fn resize(
        &self,
        work: &Work,
        actions: &[&ProxyAction],
        refusals: &mut Refusals,
    ) -> Result<bool, ReconcileError> {
        let due = actions.iter().filter_map(|action| match action {
            ProxyAction::Resize { pod, uid, to } if refusals.is_due(uid) => {
                Some((pod.as_str(), uid.clone(), resize_patch(work, *to)))
            }
            _ => None,
        });
        let namespace = work.cluster.namespace.as_str();
        let resizes: Vec<_> = due
            .map(|(pod, uid, patch)| {
                let point = FaultPoint::ResizeProxyPod;
                async move { (pod, uid, self.writer.resize(point, namespace, pod, &patch).await) }
            })
            .collect();
        let outcomes: Vec<_> = stream::iter(resizes).buffered(RESIZES_AT_ONCE).collect().await;
        let mut has_changed = false;
        for (pod, uid, outcome) in outcomes {
            let message = match outcome {
                Ok(written) => {
                    tracing::info!(pod, namespace, "resized");
                    self.stores.pods.wrote(written);
                    refusals.remove(&uid);
                    has_changed = true;
                    continue;
                }
                // The watch brings what it is now, and with it the next reconcile.
                Err(WriteError::Stale(_)) => continue,
                // Or the pod is gone: then nothing speaks of it any more.
                Err(WriteError::Gone(_)) => NOT_IN_PLACE.to_owned(),
                Err(WriteError::Refused { message, .. }) => message,
                Err(error) => return Err(error.into()),
            };
            tracing::warn!(pod, namespace, said = message, "the resize was refused");
            refusals.insert(uid, message);
        }
        Ok(has_changed)
    }
}

fn resize_patch(work: &Work, to: Reservation) -> Value {
    let requests = match to {
        Reservation::OfActive => work.children.active_requests.clone(),
        Reservation::OfBirth(requests) => requests.to_quantities(),
    };
    json!({"spec": {"containers": [{
        "name": names::PROXY_CONTAINER,
        "resources": {"requests": requests},
    }]}})
}
