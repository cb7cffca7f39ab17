//! The chart, installed and taken away again with Helm.

use std::time::Duration;

use anyhow::{Context, Result};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::kubectl::{Helm, Kubectl};
use freshet_e2e::progress::Step;
use serde_json::Value;

use super::quickstart;
use crate::images::Images;
use crate::paths::repository_root;

const RELEASE: &str = "freshet";
const NAMESPACE: &str = "freshet-system";
const CRD: &str = "mqttclusters.freshet.dev";
/// What selects the operator of this release.
const OPERATOR_SELECTOR: &str = "app.kubernetes.io/name=freshet-operator,app.kubernetes.io/instance=freshet";
/// How long the operator's replicas may take.
const OPERATOR_DEADLINE: Duration = Duration::from_secs(300);

/// Installs the chart, or upgrades it, and waits until the operator runs as it says.
pub(super) async fn install(kubectl: &Kubectl, helm: &Helm, images: &Images, step: &Step) -> Result<()> {
    let chart = repository_root().join("charts/freshet");
    let mut upgrade = helm.command();
    upgrade
        .args(["upgrade", RELEASE])
        .arg(chart)
        .args(["--install", "--namespace", NAMESPACE, "--create-namespace"]);
    for (value, setting) in images.chart_values() {
        upgrade.arg("--set-string").arg(format!("{value}={setting}"));
    }
    freshet_e2e::command::run(&mut upgrade).await?;
    step.note("installed; waiting for the operator");
    await_operator(kubectl).await?;
    step.outcome(format!("release {RELEASE} in {NAMESPACE}, operator ready"));
    Ok(())
}

/// Takes away the example cluster, the release, and the resource definition unless somebody else's clusters need it.
pub(crate) async fn uninstall(kubectl: &Kubectl, helm: &Helm, step: &Step) -> Result<()> {
    let has_crd = kubectl
        .run(&["get", "crd", CRD, "--ignore-not-found", "--output=name"])
        .await?;
    let has_crd = !has_crd.trim().is_empty();
    if has_crd {
        quickstart::delete(kubectl).await?;
    }
    helm.run(&[
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--ignore-not-found",
        "--wait",
    ])
    .await?;
    kubectl
        .run(&["delete", "namespace", NAMESPACE, "--ignore-not-found"])
        .await?;
    let others = match has_crd {
        true => {
            kubectl
                .run(&["get", CRD, "--all-namespaces", "--no-headers", "--ignore-not-found"])
                .await?
        }
        false => String::new(),
    };
    if others.trim().is_empty() {
        kubectl.run(&["delete", "crd", CRD, "--ignore-not-found"]).await?;
        step.outcome("removed");
    } else {
        step.outcome(format!(
            "removed; {CRD} stays for {} other clusters",
            others.lines().count()
        ));
    }
    Ok(())
}

async fn await_operator(kubectl: &Kubectl) -> Result<()> {
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
