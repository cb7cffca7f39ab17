//! Tells what was found and done: Events, then the status. In this order, so that an operator killed in between tells a
//! thing twice rather than not at all.

use std::time::{Duration, Instant};

use freshet_operator_api::{MqttCluster, MqttClusterStatus, ScalingStatus};
use freshet_operator_core::connections::ConnectionLimits;
use freshet_operator_core::notices::{Former, find_notices};
use freshet_operator_core::observe::Observed;
use freshet_operator_core::plan::ProxyPlan;
use freshet_operator_core::rollout::Loads;
use freshet_operator_core::status::{
    Blocked, Outcome, RefusedResizes, StatusInput, StatusWrite, build_status, decide_write,
};
use freshet_operator_core::volume::look_again_after;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::memory::{ClusterMemory, WrittenStatus};
use super::{ReconcileError, Reconciler, Work};
use crate::args::VERSION;
use crate::fault::FaultPoint;

/// What a reconcile came to.
pub(super) struct Report<'a> {
    pub(super) resource: &'a MqttCluster,
    pub(super) observed: &'a Observed,
    /// The status as it is stored.
    pub(super) previous: Option<MqttClusterStatus>,
    /// What was built and planned, unless the resource is invalid.
    pub(super) work: Option<&'a Work>,
    /// Something was changed: what was observed before is not all there is to know.
    pub(super) has_changed: bool,
    /// What was done of the proxies' plan, unless nothing is to be done.
    pub(super) done: Option<ProxyPlan>,
    pub(super) blocked: Option<Blocked>,
}

impl Reconciler {
    /// Publishes Events and writes the status if it is time. Returns when to look again at the latest, if a write waits or
    /// somebody was asked.
    pub(super) async fn report(
        &self,
        report: Report<'_>,
        memory: &mut ClusterMemory,
    ) -> Result<Option<Duration>, ReconcileError> {
        let connection_limits = memory.limits.known(report.observed);
        let scaling = self.scalings.shown(report.resource);
        let loads = self.scalings.loads(report.resource);
        let status = new_status(
            &report,
            &connection_limits,
            &memory.refusals.known(),
            &loads,
            scaling.as_ref(),
        );
        let former = Former {
            observed: memory.observed.as_ref(),
            status: report.previous.as_ref(),
        };
        let found = find_notices(former, report.observed, &status, report.done.as_ref());
        for notice in found.into_iter().chain(memory.limits.notices()) {
            tracing::info!(reason = %notice.reason, note = %notice.note, "event");
            if let Err(error) = self.recorder.publish(report.resource, &notice).await {
                tracing::warn!(%error, reason = %notice.reason, "the event could not be published");
            }
        }
        let volumes = look_again_after(status.storage.volume.as_ref(), Timestamp::now());
        let since_last = memory.status.as_ref().map(|written| written.at.elapsed());
        let pause = match decide_write(report.previous.as_ref(), &status, since_last) {
            StatusWrite::Nothing => None,
            StatusWrite::After(pause) => Some(pause),
            StatusWrite::Now => {
                self.write_status(report.resource, status, memory).await?;
                None
            }
        };
        let limits = memory.limits.look_again_after();
        let refusals = memory.refusals.look_again_after();
        let rooms = self.rooms.look_again_after(report.observed);
        Ok([pause, limits, refusals, rooms, volumes].into_iter().flatten().min())
    }

    async fn write_status(
        &self,
        resource: &MqttCluster,
        status: MqttClusterStatus,
        memory: &mut ClusterMemory,
    ) -> Result<(), ReconcileError> {
        let name = resource.name_any();
        let namespace = resource.namespace().unwrap_or_default();
        let body = json!({
            "apiVersion": MqttCluster::api_version(&()),
            "kind": MqttCluster::kind(&()),
            // The UID keeps it from another resource of the same name.
            "metadata": {"name": name, "uid": resource.metadata.uid},
            "status": status,
        });
        let written = self
            .writer
            .apply_status::<MqttCluster>(FaultPoint::WriteStatus, &namespace, &name, &body)
            .await?;
        memory.status = Some(WrittenStatus {
            at: Instant::now(),
            resource_version: written.resource_version().and_then(|version| version.parse().ok()),
            // As the API server has it: the next comparison is with what it will say.
            status: written.status.unwrap_or(status),
        });
        Ok(())
    }
}

fn new_status(
    report: &Report<'_>,
    connection_limits: &ConnectionLimits,
    refused_resizes: &RefusedResizes,
    loads: &Loads,
    scaling: Option<&ScalingStatus>,
) -> MqttClusterStatus {
    let resource = report.resource;
    let outcome = match (&report.blocked, report.work) {
        (Some(blocked), _) => Outcome::Blocked(blocked),
        (None, Some(work)) => Outcome::Planned {
            cluster: &work.cluster,
            keep: &work.keep,
            proxies: &work.proxies,
            storage: &work.storage,
            has_changed: report.has_changed,
        },
        (None, None) => return report.previous.clone().unwrap_or_default(),
    };
    let now = Timestamp::now();
    build_status(&StatusInput {
        name: &resource.name_any(),
        generation: resource.metadata.generation,
        version: VERSION,
        outcome,
        observed: report.observed,
        connection_limits,
        refused_resizes,
        loads,
        scaling,
        previous: report.previous.as_ref(),
        // Conditions are stored to the second; a finer time would never equal what is read back.
        now: Timestamp::from_second(now.as_second()).unwrap_or(now),
    })
}
