//! The operator of the chart as cases change it: how many replicas there are, or none for a while.

use anyhow::{Context, Result};
use freshet_e2e::Cluster;
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::product::chart;
use serde_json::Value;

use crate::broker::DEADLINE;

/// Replicas of the chart's default.
pub(crate) const REPLICAS: usize = 2;
const DEPLOYMENT: &str = "deployment/freshet-operator";

/// Runs kubectl where the operator lives.
pub(crate) async fn run(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let scope = ["--namespace", chart::NAMESPACE];
    cluster.kubectl().run(&[arguments, scope.as_slice()].concat()).await
}

pub(crate) async fn get(cluster: &Cluster, what: &[&str]) -> Result<Value> {
    let text = run(cluster, &[&["get", "--output=json"], what].concat()).await?;
    serde_json::from_str(&text).with_context(|| format!("kubectl get {what:?}"))
}

/// Sets the number of the operator's replicas, and waits until that many pods are there and ready.
pub(crate) async fn scale(cluster: &Cluster, replicas: usize) -> Result<()> {
    run(cluster, &["scale", DEPLOYMENT, &format!("--replicas={replicas}")]).await?;
    let selector = "app.kubernetes.io/name=freshet-operator";
    await_condition(&format!("{replicas} replicas of the operator"), DEADLINE, async || {
        let pods = get(cluster, &["pods", "--selector", selector]).await?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok(if pods.len() == replicas && ready == replicas {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{} pods, {ready} ready", pods.len()))
        })
    })
    .await
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// Runs `test` while there is no operator in the cluster; afterwards there is one again, whatever came of it.
pub(crate) async fn without_operator<T>(cluster: &Cluster, test: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    scale(cluster, 0).await?;
    let result = test().await;
    scale(cluster, REPLICAS).await?;
    result
}
