//! The chart, installed and taken away again with Helm.

use std::time::Duration;

use crate::condition::{Observed, await_condition};
use crate::kubectl::{Helm, Kubectl};
use crate::progress::Step;
use anyhow::Context;
use serde_json::Value;

use super::{Images, repository};
use crate::command;

/// What Helm calls it.
const RELEASE: &str = "freshet";
/// Where the operator runs.
pub const NAMESPACE: &str = "freshet-system";
/// The resource definition, which Helm leaves where it is.
const DEFINITION: &str = "mqttclusters.freshet.dev";
/// What selects the operator of this release.
const OPERATOR_SELECTOR: &str = "app.kubernetes.io/name=freshet-operator,app.kubernetes.io/instance=freshet";
/// How much of each replica's log an error repeats.
const LOG_LINES: &str = "--tail=5";
/// How long the operator's replicas may take.
const OPERATOR_DEADLINE: Duration = Duration::from_secs(300);

/// Installs the chart, or upgrades it, and waits until the operator runs as it says.
///
/// # Errors
/// When Helm refuses, or the operator does not become ready: with what its pods are up to.
pub async fn install(kubectl: &Kubectl, helm: &Helm, images: &Images, step: &Step) -> anyhow::Result<()> {
    upgrade(kubectl, helm, &images.chart_values(), step).await
}

/// Installs or upgrades the chart with these values, names and settings, and waits until the operator runs as they say.
///
/// # Errors
/// As [`install`].
pub async fn upgrade(kubectl: &Kubectl, helm: &Helm, values: &[(String, String)], step: &Step) -> anyhow::Result<()> {
    let chart = repository().join("charts/freshet");
    let mut upgrade = helm.command();
    upgrade.args(["upgrade", RELEASE]).arg(chart).args([
        "--install",
        "--reset-values",
        "--namespace",
        NAMESPACE,
        "--create-namespace",
    ]);
    for (value, setting) in values {
        upgrade.arg("--set-string").arg(format!("{value}={setting}"));
    }
    command::run(&mut upgrade).await?;
    step.note("installed; waiting for the operator");
    await_operator(kubectl).await?;
    step.outcome(format!("release {RELEASE} in {NAMESPACE}, operator ready"));
    Ok(())
}

/// Tells whether the cluster knows what an `MqttCluster` is.
///
/// # Errors
/// When the API server does not answer.
pub async fn has_definition(kubectl: &Kubectl) -> anyhow::Result<bool> {
    let found = kubectl
        .run(&["get", "crd", DEFINITION, "--ignore-not-found", "--output=name"])
        .await?;
    Ok(!found.trim().is_empty())
}

/// Takes away the release, and the resource definition unless there are clusters that would go with it.
///
/// # Errors
/// When the API server or Helm refuses.
pub async fn uninstall(kubectl: &Kubectl, helm: &Helm, step: &Step) -> anyhow::Result<()> {
    let scope = ["--namespace", NAMESPACE, "--ignore-not-found", "--wait"];
    helm.run(&[&["uninstall", RELEASE], scope.as_slice()].concat()).await?;
    kubectl
        .run(&["delete", "namespace", NAMESPACE, "--ignore-not-found"])
        .await?;
    if !has_definition(kubectl).await? {
        step.outcome("removed");
        return Ok(());
    }
    let left = kubectl
        .run(&[
            "get",
            DEFINITION,
            "--all-namespaces",
            "--no-headers",
            "--ignore-not-found",
        ])
        .await?;
    if left.trim().is_empty() {
        kubectl.run(&["delete", "crd", DEFINITION]).await?;
        step.outcome("removed");
    } else {
        let count = left.lines().count();
        step.outcome(format!(
            "removed; {DEFINITION} stays for {count} clusters that are not ours"
        ));
    }
    Ok(())
}

async fn await_operator(kubectl: &Kubectl) -> anyhow::Result<()> {
    let question = [
        "get",
        "deployments",
        "--namespace",
        NAMESPACE,
        "--selector",
        OPERATOR_SELECTOR,
        "--output=json",
    ];
    await_condition("the operator is ready", OPERATOR_DEADLINE, async || {
        let listed: Value = serde_json::from_str(&kubectl.run(&question).await?)?;
        let deployment = listed["items"].get(0).context("the release has no operator")?;
        if is_rolled_out(deployment) {
            return Ok(Observed::Met(()));
        }
        let pods = [
            "get",
            "pods",
            "--namespace",
            NAMESPACE,
            "--selector",
            OPERATOR_SELECTOR,
            "--no-headers",
        ];
        Ok(Observed::NotYet(kubectl.run(&pods).await?.trim().replace('\n', "; ")))
    })
    .await
}

/// What the operator's replicas said last, for an error about something that it should have done.
pub async fn operator_said(kubectl: &Kubectl) -> String {
    let question = [
        "logs",
        "--namespace",
        NAMESPACE,
        "--selector",
        OPERATOR_SELECTOR,
        "--prefix",
        LOG_LINES,
    ];
    kubectl
        .run(&question)
        .await
        .unwrap_or_else(|error| format!("no log of the operator: {error:#}"))
}

/// Tells whether all replicas of a Deployment are of its present template and available.
fn is_rolled_out(deployment: &Value) -> bool {
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|count| &status[count] == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployment_with_a_replica_of_an_older_template_is_not_rolled_out() {
        let deployment = |generation: u32, replicas: u32, updated: u32| {
            json!({
                "metadata": {"generation": 2}, "spec": {"replicas": 2},
                "status": {
                    "observedGeneration": generation, "replicas": replicas, "updatedReplicas": updated,
                    "availableReplicas": 2,
                },
            })
        };
        assert!(is_rolled_out(&deployment(2, 2, 2)));
        assert!(!is_rolled_out(&deployment(1, 2, 2)));
        assert!(!is_rolled_out(&deployment(2, 3, 2)));
        assert!(!is_rolled_out(&deployment(2, 2, 1)));
    }
}
