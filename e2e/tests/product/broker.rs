//! An `MqttCluster` of a test: applied in a namespace that goes with the test, reached through its NodePort.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::kubectl::Kubectl;
use freshet_e2e::node::UpOptions;
use freshet_e2e::{Cluster, metrics, product, with_temp_namespace};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::turns;

/// How long a cluster may take to become what was asked for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);
/// How long a message may take; longer than a proxy holds anything for storage that is away.
pub(crate) const MESSAGE_DEADLINE: Duration = Duration::from_secs(45);
/// The container of a proxy's pod.
pub(crate) const PROXY: &str = "proxy";
/// The container of a storage node's pod.
pub(crate) const STORAGE: &str = "storage";
/// The pod of the only storage node.
pub(crate) const STORAGE_POD: &str = "mqtt-storage-0";

/// A cluster called `mqtt`.
pub(crate) struct Broker<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: &'a str,
}

/// Runs `test` with an `MqttCluster` that is ready, in a namespace of its own, beside other cases.
pub(crate) async fn with_broker<W>(label: &str, spec: Value, test: W) -> Result<()>
where
    W: AsyncFnOnce(&Broker<'_>) -> Result<()>,
{
    let _turn = turns::beside_others().await?;
    with_one_more_broker(label, spec, test).await
}

/// The same while no other case runs: for those that take the operator away, or measure how soon something happens.
pub(crate) async fn with_broker_alone<W>(label: &str, spec: Value, test: W) -> Result<()>
where
    W: AsyncFnOnce(&Broker<'_>) -> Result<()>,
{
    let _turn = turns::alone().await?;
    with_one_more_broker(label, spec, test).await
}

/// The same within a case that has its turn.
pub(crate) async fn with_one_more_broker<W>(label: &str, spec: Value, test: W) -> Result<()>
where
    W: AsyncFnOnce(&Broker<'_>) -> Result<()>,
{
    let (cluster, _images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
    with_temp_namespace(&cluster, label, async |namespace| {
        let broker = Broker {
            cluster: &cluster,
            namespace,
        };
        broker.apply(spec).await?;
        broker.await_ready("AllServing").await?;
        broker.await_pool().await?;
        broker.await_reachable().await?;
        test(&broker).await
    })
    .await
}

impl Broker<'_> {
    pub(crate) fn kubectl(&self) -> Kubectl {
        self.cluster.kubectl()
    }

    /// Applies the resource with `spec`, small enough that several fit on the nodes of the tests.
    pub(crate) async fn apply(&self, mut spec: Value) -> Result<()> {
        let small = json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}});
        // A volume that a case names is one in full: what it leaves open is the default, and not that of the tests.
        let names_volume = spec.pointer("/storage/volume").is_some();
        merge(
            &mut spec,
            &json!({
                "service": {"type": "NodePort"},
                "proxy": {
                    "resources": small,
                    // Who serves is what the case sets.
                    "scaling": {"mode": "Off"},
                    "drain": {"linger": "1s", "timeout": "20s"},
                    "rollout": {"canary": "2s"},
                },
                "storage": {"resources": small},
            }),
        );
        if !names_volume {
            spec["storage"]["volume"] = json!({"medium": "Memory"});
        }
        let resource = json!({
            "apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster",
            "metadata": {"name": "mqtt", "namespace": self.namespace}, "spec": spec,
        });
        self.kubectl().apply(&[resource]).await?;
        Ok(())
    }

    /// Runs kubectl in the test's namespace.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let scope = ["--namespace", self.namespace];
        self.kubectl().run(&[arguments, scope.as_slice()].concat()).await
    }

    pub(crate) async fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self.run(&[&["get", "--output=json"], what].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {what:?}"))
    }

    pub(crate) async fn resource(&self) -> Result<Value> {
        self.get(&["mqc", "mqtt"]).await
    }

    /// Waits until the resource is Ready, for the present generation, with `reason`.
    pub(crate) async fn await_ready(&self, reason: &str) -> Result<Value> {
        await_condition(&format!("mqtt is ready: {reason}"), DEADLINE, async || {
            let resource = self.resource().await?;
            let ready = condition(&resource, "Ready");
            let is_current = resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
            Ok(
                if is_current && ready["status"] == "True" && ready["reason"] == reason {
                    Observed::Met(resource)
                } else {
                    Observed::NotYet(format!("{ready}"))
                },
            )
        })
        .await
    }

    /// Waits until as many proxies wait as are asked for: before that, pods come that nobody has asked for anew.
    pub(crate) async fn await_pool(&self) -> Result<()> {
        let wanted = self.resource().await?["spec"]["proxy"]["warm"]["min"].clone();
        await_condition(&format!("{wanted} proxies wait"), DEADLINE, async || {
            let selector = "freshet.dev/cluster=mqtt,freshet.dev/role=warm";
            let listed = self.get(&["pods", "--selector", selector]).await?;
            let pods = listed["items"].as_array().cloned().unwrap_or_default();
            let is_ready = |pod: &&Value| {
                let conditions = pod["status"]["conditions"].as_array();
                conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            };
            let ready = pods.iter().filter(is_ready).count();
            Ok(if wanted == ready && pods.len() == ready {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{ready} of {} ready", pods.len()))
            })
        })
        .await
    }

    /// Waits until a condition has a status; returns it.
    pub(crate) async fn await_status(&self, of: &str, status: &str) -> Result<Value> {
        await_condition(&format!("{of} is {status}"), DEADLINE, async || {
            let found = condition(&self.resource().await?, of);
            Ok(if found["status"] == status {
                Observed::Met(found)
            } else {
                Observed::NotYet(format!("{found}"))
            })
        })
        .await
    }

    /// Waits until an Event of the resource has `reason`; returns its note.
    pub(crate) async fn await_event(&self, reason: &str) -> Result<String> {
        await_condition(&format!("an Event {reason}"), DEADLINE, async || {
            let events = self.get(&["events.events.k8s.io"]).await?;
            let events = events["items"].as_array().cloned().unwrap_or_default();
            let of_resource = |e: &&Value| e["regarding"]["kind"] == "MqttCluster";
            let found = events.iter().filter(of_resource).find(|e| e["reason"] == reason);
            Ok(match found {
                Some(event) => Observed::Met(event["note"].as_str().unwrap_or_default().to_owned()),
                None => Observed::NotYet(events.iter().map(|e| e["reason"].to_string()).collect()),
            })
        })
        .await
    }

    /// Where clients connect.
    pub(crate) async fn address(&self) -> Result<SocketAddr> {
        let service = self.get(&["service", "mqtt"]).await?;
        let port = service["spec"]["ports"][0]["nodePort"]
            .as_u64()
            .context("no node port")?;
        Ok(self.cluster.node_port(u16::try_from(port)?))
    }

    /// Waits until the nodes forward connections: that follows the endpoints of the Service, of which the resource
    /// speaks, with some delay.
    async fn await_reachable(&self) -> Result<()> {
        let address = self.address().await?;
        await_condition(&format!("{address} takes connections"), DEADLINE, async || {
            TcpStream::connect(address).await?;
            Ok(Observed::Met(()))
        })
        .await
    }

    /// Waits until new connections come to all of so many proxies: what a node deals follows the endpoints a moment later.
    pub(crate) async fn await_all_reached(&self, proxies: usize) -> Result<()> {
        let address = self.address().await?;
        await_condition("connections come to all proxies", DEADLINE, async || {
            let (_client, _) = Client::connect(address, "tries").await?;
            let reached = self.metric("freshet_proxy_connects_total").await?;
            Ok(
                if reached.len() == proxies && reached.values().all(|count| *count > 0) {
                    Observed::Met(())
                } else {
                    Observed::NotYet(format!("{reached:?}"))
                },
            )
        })
        .await
    }

    /// Names of the proxies that get new connections.
    pub(crate) async fn accepting(&self) -> Result<Vec<String>> {
        self.pods("freshet.dev/cluster=mqtt,freshet.dev/accepting=true").await
    }

    pub(crate) async fn pods(&self, selector: &str) -> Result<Vec<String>> {
        let listed = self.get(&["pods", "--selector", selector]).await?;
        let pods = listed["items"].as_array().cloned().unwrap_or_default();
        let going = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        Ok(pods.iter().filter(going).filter_map(name).collect())
    }

    /// Waits until one proxy holds the only client, and returns its name.
    pub(crate) async fn await_holder(&self) -> Result<String> {
        await_condition("one proxy holds the client", DEADLINE, async || {
            let clients = self.metric("freshet_proxy_clients").await?;
            let holders: Vec<_> = clients.iter().filter(|(_, held)| **held > 0).collect();
            Ok(match holders[..] {
                [(pod, 1)] => Observed::Met(pod.clone()),
                _ => Observed::NotYet(format!("{clients:?}")),
            })
        })
        .await
    }

    /// Waits until no proxy holds a client.
    pub(crate) async fn await_no_connection(&self) -> Result<()> {
        await_condition("all clients have gone", DEADLINE, async || {
            let open = self.metric("freshet_proxy_connections").await?;
            Ok(if open.values().all(|open| *open == 0) {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{open:?}"))
            })
        })
        .await
    }

    /// The sum over all labels of one metric of each proxy that accepts.
    pub(crate) async fn metric(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let mut values = BTreeMap::new();
        for pod in self.accepting().await? {
            let sum = metrics::samples::<u64>(&self.scrape(&pod).await?, name)
                .map(|(_, value)| value)
                .sum();
            values.insert(pod, sum);
        }
        Ok(values)
    }

    /// One metric of all proxies that accept, by one of its labels.
    pub(crate) async fn metric_by(&self, name: &str, label: &str) -> Result<BTreeMap<String, u64>> {
        let mut values = BTreeMap::new();
        for pod in self.accepting().await? {
            add_by(&self.scrape(&pod).await?, name, label, &mut values);
        }
        Ok(values)
    }

    /// One metric of the storage node, by one of its labels.
    pub(crate) async fn storage_metric_by(&self, name: &str, label: &str) -> Result<BTreeMap<String, u64>> {
        let mut values = BTreeMap::new();
        add_by(&self.scrape(STORAGE_POD).await?, name, label, &mut values);
        Ok(values)
    }

    async fn scrape(&self, pod: &str) -> Result<String> {
        metrics::scrape(&self.kubectl(), self.namespace, pod).await
    }
}

/// The condition of a type, null when there is none.
pub(crate) fn condition(resource: &Value, of: &str) -> Value {
    let conditions = resource["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == of).unwrap_or_default()
}

/// Adds what `spec` does not say itself.
fn merge(spec: &mut Value, defaults: &Value) {
    if let (Some(spec), Some(defaults)) = (spec.as_object_mut(), defaults.as_object()) {
        for (key, default) in defaults {
            match spec.get_mut(key) {
                Some(said) => merge(said, default),
                None => {
                    spec.insert(key.clone(), default.clone());
                }
            }
        }
    }
}

fn add_by(text: &str, name: &str, label: &str, values: &mut BTreeMap<String, u64>) {
    let label = format!("{label}=\"");
    for (labels, value) in metrics::samples::<u64>(text, name) {
        let of = labels.split_once(&label).and_then(|(_, rest)| rest.split_once('"'));
        *values.entry(of.map_or("", |(of, _)| of).to_owned()).or_default() += value;
    }
}
