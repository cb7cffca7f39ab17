//! The operator dies before and after every write to the API server, and the next one finishes what it began.
//!
//! It runs as a process of the test, beside a cluster whose own operator is away, so that it can be told where to die;
//! the points are asked of the program, so that a new one is walked through as well.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::node::UpOptions;
use freshet_e2e::product::{self, Images};
use freshet_e2e::{Cluster, with_temp_namespace};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::broker::{DEADLINE, condition};
use crate::operator_process::OperatorProcess;
use crate::operators::without_operator;
use crate::turns;

/// How long the operator may take to come to a point.
const FAULT_DEADLINE: Duration = Duration::from_secs(120);
/// `abort` ends a process with it (signal(7)).
const SIGABRT: i32 = 6;

/// What has to happen for a write to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// A new cluster, whatever its pods do.
    Creation,
    /// A new cluster whose pods become ready.
    Start,
    /// A new revision of the proxies.
    NewRevision,
    /// Another file for the storage nodes.
    NewConfiguration,
    /// Another template of the storage nodes.
    NewStorage,
    /// Larger volumes. The StorageClass of the tests refuses that: to have asked is all there is to it.
    LargerVolume,
    /// A new cluster with fewer proxies than its scaler may leave it.
    Scaling,
}

fn occasion_of(point: &str) -> Occasion {
    match point {
        "patch-proxy-pod" | "resize-proxy-pod" | "publish-event" | "write-status" => Occasion::Start,
        "scale-old-proxies" | "delete-old-proxies" => Occasion::NewRevision,
        "patch-storage-pod" => Occasion::NewConfiguration,
        "delete-storage-pod" => Occasion::NewStorage,
        "grow-claim" => Occasion::LargerVolume,
        "scale-cluster" | "apply-scaling-history" => Occasion::Scaling,
        _ => Occasion::Creation,
    }
}

/// The cluster that is changed, and the only one with a volume.
const CALM: &str = "calm";

/// A resource whose content is another one for each `edition`. The volume of the one that is changed never shrinks.
fn resource(namespace: &str, name: &str, occasion: Occasion, edition: usize) -> Value {
    let resources = |is_varied: bool| {
        let mebibytes = if is_varied { 200 + edition } else { 200 };
        json!({
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "1", "memory": format!("{mebibytes}Mi")},
        })
    };
    let retained_messages = match occasion {
        Occasion::NewConfiguration => 1000 + edition,
        _ => 1000,
    };
    let volume = if name == CALM {
        json!({"size": format!("{}Mi", 1024 + edition)})
    } else {
        json!({"medium": "Memory"})
    };
    let scaling = match occasion {
        Occasion::Scaling => json!({"mode": "Scale", "min": 2, "max": 3}),
        _ => json!({"mode": "Off"}),
    };
    json!({
        "apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "proxy": {
                "replicas": 1,
                "scaling": scaling,
                "warm": {"requests": {"cpu": "5m", "memory": "16Mi"}},
                "resources": resources(occasion == Occasion::NewRevision),
                "drain": {"linger": "1s", "timeout": "5s"},
                // Without clients a canary has nothing to be judged by, and would be watched twice as long.
                "rollout": {"canary": "1s"},
            },
            "storage": {"resources": resources(occasion == Occasion::NewStorage), "volume": volume},
            "limits": {"cluster": {"retainedMessages": retained_messages}},
        },
    })
}

/// Kinds and names of all children, with `name` taken out of them.
async fn children(cluster: &Cluster, namespace: &str, name: &str) -> Result<Vec<String>> {
    let kinds = "serviceaccounts,configmaps,services,statefulsets,deployments,poddisruptionbudgets";
    let selector = format!("freshet.dev/cluster={name}");
    let scope = ["--namespace", namespace, "--selector", &selector, "--output=name"];
    let said = cluster
        .kubectl()
        .run(&[&["get", kinds], scope.as_slice()].concat())
        .await?;
    let mut names: Vec<String> = said.lines().map(|line| line.replace(name, "*")).collect();
    names.sort_unstable();
    Ok(names)
}

/// Waits until the operator has said that it carried out what the resource asks for.
async fn await_settled(cluster: &Cluster, namespace: &str, name: &str, occasion: Occasion) -> Result<()> {
    await_condition(&format!("{name} is as asked for"), DEADLINE, async || {
        let arguments = ["get", "mqc", name, "--namespace", namespace, "--output=json"];
        let resource: Value = serde_json::from_str(&cluster.kubectl().run(&arguments).await?)?;
        let is_current = resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
        let ready = condition(&resource, "Ready");
        let progressing = condition(&resource, "Progressing");
        let is_done = occasion == Occasion::Creation || ready["status"] == "True" && progressing["status"] == "False";
        Ok(if is_current && is_done {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{ready} {progressing}"))
        })
    })
    .await
}

async fn await_death(child: &mut Child, fault: &str) -> Result<()> {
    let Ok(ended) = tokio::time::timeout(FAULT_DEADLINE, child.wait()).await else {
        bail!("{fault}: the operator never came there");
    };
    let status = ended?;
    ensure!(status.signal() == Some(SIGABRT), "{fault}: ended otherwise, {status}");
    Ok(())
}

#[tokio::test]
async fn an_operator_that_died_at_any_write_is_finished_by_the_next() -> Result<()> {
    let _turn = turns::alone().await?;
    let (cluster, images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
    let walk = async || with_temp_namespace(&cluster, "faults", async |ns| walk(&cluster, &images, ns).await).await;
    without_operator(&cluster, walk).await
}

async fn walk(cluster: &Cluster, images: &Images, namespace: &str) -> Result<()> {
    let operator = OperatorProcess::new(cluster, images, namespace).await?;
    let apply = async |name: &str, occasion, edition| {
        let resource = resource(namespace, name, occasion, edition);
        cluster.kubectl().apply(&[resource]).await.map(drop)
    };

    // What it should come to, and the cluster that is changed below.
    apply(CALM, Occasion::Start, 0).await?;
    let calm = operator.start(None)?;
    await_settled(cluster, namespace, CALM, Occasion::Start).await?;
    let expected = children(cluster, namespace, CALM).await?;
    ensure!(expected.len() >= 8, "{expected:?}");
    drop(calm);

    let mut edition = 0;
    for point in operator.fault_points().await? {
        for side in ["before", "after"] {
            edition += 1;
            let fault = format!("{point}:{side}");
            let occasion = occasion_of(&point);
            let is_new = matches!(occasion, Occasion::Creation | Occasion::Start | Occasion::Scaling);
            let name = if is_new { format!("f{edition}") } else { CALM.to_owned() };
            apply(&name, occasion, edition).await?;
            let mut faulty = operator.start(Some(&fault))?;
            await_death(&mut faulty, &fault).await?;
            let _next = operator.start(None)?;
            // What the scaler remembers.
            let more = usize::from(occasion == Occasion::Scaling);
            let finish = async {
                await_settled(cluster, namespace, &name, occasion).await?;
                await_condition("the same children", DEADLINE, async || {
                    let found = children(cluster, namespace, &name).await?;
                    // Revisions are hashes of templates, which differ between editions.
                    Ok(if found.len() == expected.len() + more {
                        Observed::Met(())
                    } else {
                        Observed::NotYet(format!("{found:?} instead of {expected:?}"))
                    })
                })
                .await
            };
            finish.await.with_context(|| fault.clone())?;
            if is_new {
                let scope = ["--namespace", namespace, "--wait=false"];
                let delete = [&["delete", "mqc", &name], scope.as_slice()].concat();
                cluster.kubectl().run(&delete).await?;
            }
        }
    }
    Ok(())
}
