//! Named fault points: every write of a reconcile passes one, before it is sent and after it was answered.
//!
//! With `FRESHET_FAULT_POINT=<name>:before` or `<name>:after` the process aborts there, as if it had been killed. The
//! end-to-end tests walk through all of them and see that another process finishes what was begun.

use std::fmt;
use std::str::FromStr;

/// A write of a reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FaultPoint {
    /// Applies the ServiceAccount of the proxies.
    ApplyProxyServiceAccount,
    /// Applies the ServiceAccount of the storage nodes.
    ApplyStorageServiceAccount,
    /// Applies the ConfigMap.
    ApplyConfigMap,
    /// Applies the Service of the clients.
    ApplyClientService,
    /// Applies the Service over all proxies.
    ApplyAllProxiesService,
    /// Applies the headless Service of the storage nodes.
    ApplyStorageService,
    /// Applies the StatefulSet of the storage nodes, or scales one that is kept.
    ApplyStorage,
    /// Applies the disruption budget of the proxies.
    ApplyDisruptionBudget,
    /// Applies the Deployment of the target revision, or scales one that is kept.
    ApplyProxies,
    /// Writes role and labels of a proxy pod.
    PatchProxyPod,
    /// Raises what an active proxy reserves.
    ResizeProxyPod,
    /// Takes the Deployment of another revision to zero.
    ScaleOldProxies,
    /// Deletes the Deployment of another revision.
    DeleteOldProxies,
    /// Writes the hash of the file to a storage pod.
    PatchStoragePod,
    /// Deletes a storage pod of an earlier revision.
    DeleteStoragePod,
    /// Lets the claim of a storage node's volume ask for more.
    GrowClaim,
    /// Writes how many proxies serve, as the scaler decided.
    ScaleCluster,
    /// Applies the ConfigMap with what the scaler remembers.
    ApplyScalingHistory,
    /// Publishes an Event.
    PublishEvent,
    /// Writes the status.
    WriteStatus,
}

impl FaultPoint {
    /// Every point.
    pub(crate) const ALL: [Self; 20] = [
        Self::ApplyProxyServiceAccount,
        Self::ApplyStorageServiceAccount,
        Self::ApplyConfigMap,
        Self::ApplyClientService,
        Self::ApplyAllProxiesService,
        Self::ApplyStorageService,
        Self::ApplyStorage,
        Self::ApplyDisruptionBudget,
        Self::ApplyProxies,
        Self::PatchProxyPod,
        Self::ResizeProxyPod,
        Self::ScaleOldProxies,
        Self::DeleteOldProxies,
        Self::PatchStoragePod,
        Self::DeleteStoragePod,
        Self::GrowClaim,
        Self::ScaleCluster,
        Self::ApplyScalingHistory,
        Self::PublishEvent,
        Self::WriteStatus,
    ];

    /// The name in `FRESHET_FAULT_POINT` and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ApplyProxyServiceAccount => "apply-proxy-service-account",
            Self::ApplyStorageServiceAccount => "apply-storage-service-account",
            Self::ApplyConfigMap => "apply-config-map",
            Self::ApplyClientService => "apply-client-service",
            Self::ApplyAllProxiesService => "apply-all-proxies-service",
            Self::ApplyStorageService => "apply-storage-service",
            Self::ApplyStorage => "apply-storage",
            Self::ApplyDisruptionBudget => "apply-disruption-budget",
            Self::ApplyProxies => "apply-proxies",
            Self::PatchProxyPod => "patch-proxy-pod",
            Self::ResizeProxyPod => "resize-proxy-pod",
            Self::ScaleOldProxies => "scale-old-proxies",
            Self::DeleteOldProxies => "delete-old-proxies",
            Self::PatchStoragePod => "patch-storage-pod",
            Self::DeleteStoragePod => "delete-storage-pod",
            Self::GrowClaim => "grow-claim",
            Self::ScaleCluster => "scale-cluster",
            Self::ApplyScalingHistory => "apply-scaling-history",
            Self::PublishEvent => "publish-event",
            Self::WriteStatus => "write-status",
        }
    }
}

impl fmt::Display for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which side of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing was sent.
    Before,
    /// The API server has answered.
    After,
}

/// Where the process aborts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The write.
    pub(crate) point: FaultPoint,
    /// The side of it.
    pub(crate) side: Side,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is no fault point: write <name>:before or <name>:after, names by `fault-points`");
        let (name, side) = text.split_once(':').ok_or_else(wrong)?;
        let point = FaultPoint::ALL
            .into_iter()
            .find(|point| point.name() == name)
            .ok_or_else(wrong)?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return Err(wrong()),
        };
        Ok(Self { point, side })
    }
}

/// Ends the process if this is where it is told to.
pub(crate) fn pass(fault: Option<Fault>, point: FaultPoint, side: Side) {
    if fault == Some(Fault { point, side }) {
        tracing::error!(%point, ?side, "fault point reached, aborting");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_found_by_its_name_on_either_side() {
        for point in FaultPoint::ALL {
            assert_eq!(
                format!("{point}:before").parse(),
                Ok(Fault {
                    point,
                    side: Side::Before
                })
            );
            assert_eq!(
                format!("{point}:after").parse(),
                Ok(Fault {
                    point,
                    side: Side::After
                })
            );
        }
    }

    #[test]
    fn what_is_no_point_is_refused_with_how_to_find_them() {
        for text in ["", "apply-config-map", "apply-config-map:during", "nothing:before"] {
            assert!(
                text.parse::<Fault>().is_err_and(|error| error.contains("fault-points")),
                "{text}"
            );
        }
    }
}
