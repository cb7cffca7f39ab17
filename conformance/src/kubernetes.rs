//! Freshet on the Kubernetes of the tests: several proxies behind a Service, through which every client of a script
//! comes, so that those that speak to each other are mostly at different proxies.
//!
//! Called by `conformance --kubernetes`, which a soak runs. Leaves out what the end-to-end tests show of a cluster.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::node::UpOptions;
use freshet_e2e::{Cluster, metrics, product, with_temp_namespace};
use serde_json::{Value, json};

/// Proxies behind the Service.
const PROXIES: usize = 3;
/// How long the cluster may take to become what was asked for.
const DEADLINE: Duration = Duration::from_secs(180);

/// Runs `test` with the address of the Service of a cluster that is ready. The cluster goes afterwards; the Kubernetes
/// stays, as for the end-to-end tests.
///
/// # Errors
/// When there is no such cluster, or a proxy has had no client when `test` is over.
pub(crate) async fn with_cluster<T>(test: impl AsyncFnOnce(SocketAddr) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let (cluster, _images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
    with_temp_namespace(&cluster, "clients", async |namespace| {
        let of = Deployed {
            cluster: &cluster,
            namespace,
        };
        of.apply().await?;
        let address = of.await_ready().await?;
        let value = test(address).await?;
        of.require_all_proxies_used().await?;
        Ok(value)
    })
    .await
}

struct Deployed<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
}

impl Deployed<'_> {
    async fn apply(&self) -> anyhow::Result<()> {
        let small = json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}});
        let resource = json!({
            "apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster",
            "metadata": {"name": "mqtt", "namespace": self.namespace},
            "spec": {
                "service": {"type": "NodePort"},
                "proxy": {
                    "replicas": PROXIES, "scaling": {"mode": "Off"}, "resources": small, "warm": {"min": 0},
                },
                "storage": {"resources": small},
            },
        });
        self.cluster.kubectl().apply(&[resource]).await?;
        Ok(())
    }

    /// Waits until all proxies serve and connections reach them; returns where.
    async fn await_ready(&self) -> anyhow::Result<SocketAddr> {
        await_condition("all proxies serve", DEADLINE, async || {
            let resource = self.get(&["mqc", "mqtt"]).await?;
            let conditions = resource["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
            let is_ready = ready.is_some_and(|ready| ready["status"] == "True" && ready["reason"] == "AllServing");
            Ok(if is_ready && self.proxies().await?.len() == PROXIES {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{ready:?}"))
            })
        })
        .await?;
        let service = self.get(&["service", "mqtt"]).await?;
        let port = service["spec"]["ports"][0]["nodePort"]
            .as_u64()
            .context("no node port")?;
        let address = self.cluster.node_port(u16::try_from(port)?);
        await_condition(&format!("{address} takes connections"), DEADLINE, async || {
            // The nodes follow the endpoints of the Service with some delay.
            tokio::net::TcpStream::connect(address).await?;
            Ok(Observed::Met(()))
        })
        .await?;
        Ok(address)
    }

    /// Names of the proxies that the Service leads to.
    async fn proxies(&self) -> anyhow::Result<Vec<String>> {
        let selector = "freshet.dev/cluster=mqtt,freshet.dev/accepting=true";
        let pods = self.get(&["pods", "--selector", selector]).await?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        Ok(pods.iter().filter_map(name).collect())
    }

    /// A run in which one proxy had all clients would have shown less than it says.
    async fn require_all_proxies_used(&self) -> anyhow::Result<()> {
        for pod in self.proxies().await? {
            let text = metrics::scrape(&self.cluster.kubectl(), self.namespace, &pod).await?;
            let connects: u64 = metrics::samples::<u64>(&text, "freshet_proxy_connects_total")
                .map(|(_, value)| value)
                .sum();
            println!("{pod}: {connects} clients");
            ensure!(connects > 0, "the Service has led no client to {pod}");
        }
        Ok(())
    }

    async fn get(&self, what: &[&str]) -> anyhow::Result<Value> {
        let scope = ["--namespace", self.namespace];
        let arguments = [&["get", "--output=json"], what, scope.as_slice()].concat();
        let text = self.cluster.kubectl().run(&arguments).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {what:?}"))
    }
}
