//! Pods that no kubelet runs, on nodes that are objects alone: this process says that they are ready, and answers whoever
//! asks them for their load. For an operator it is as if they were there, so that a machine shows it a thousand.
//!
//! Each pod has an address of its own, from a range that is there to measure with (RFC 2544) and that this machine takes for
//! its own meanwhile.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use freshet_e2e::command;
use freshet_load::{Load, Moves, Phase, VERSION, encode};
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

/// What the machine takes for its own.
const RANGE: &str = "198.18.0.0/16";
const METRICS_PORT: u16 = 9090;
/// Label and taint of the nodes.
const MARK: &str = "freshet.dev/stand-in";
const NODES: u8 = 5;
/// Pods of a node.
const PODS: u16 = 400;
/// The node controller waits 50 s for a sign of life.
const SIGN_EVERY: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(50);

/// Nodes and pods, kept alive until this is dropped; [`StandIns::end`] takes them away.
pub(crate) struct StandIns {
    client: Client,
    _tasks: JoinSet<()>,
}

/// What sends pods to these nodes and to no other.
pub(crate) fn scheduling() -> Value {
    json!({
        "nodeSelector": {MARK: "true"},
        "tolerations": [{"key": MARK, "operator": "Exists"}],
    })
}

impl StandIns {
    /// Makes the nodes, and looks after the pods of a namespace that are sent there.
    pub(crate) async fn begin(client: Client, namespace: &str) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, METRICS_PORT))
            .await
            .context("something else of this machine has the port of metrics")?;
        route("replace").await?;
        tasks.spawn(answer(listener));
        for number in 1..=NODES {
            make_node(&client, number).await?;
        }
        tasks.spawn(keep_nodes(client.clone()));
        tasks.spawn(keep_pods(client.clone(), namespace.to_owned()));
        Ok(Self { client, _tasks: tasks })
    }

    /// Takes away the nodes. The pods have to be gone before.
    pub(crate) async fn end(self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let leases = leases(&self.client);
        for number in 1..=NODES {
            nodes.delete(&node_name(number), &DeleteParams::default()).await?;
            let _ = leases.delete(&node_name(number), &DeleteParams::default()).await;
        }
        route("del").await
    }
}

async fn route(verb: &str) -> Result<()> {
    command::run(Command::new("ip").args(["route", verb, "local", RANGE, "dev", "lo"])).await?;
    Ok(())
}

fn node_name(number: u8) -> String {
    format!("stand-in-{number}")
}

fn leases(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), "kube-node-lease")
}

async fn make_node(client: &Client, number: u8) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let name = node_name(number);
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {MARK: "true", "kubernetes.io/hostname": name}},
        "spec": {"taints": [{"key": MARK, "effect": "NoSchedule"}]},
    }))?;
    nodes.create(&PostParams::default(), &node).await?;
    sign(client, number).await
}

/// Says that a node is well.
async fn sign(client: &Client, number: u8) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let name = node_name(number);
    let now = now();
    let resources = json!({"cpu": "1000", "memory": "4000Gi", "pods": PODS.to_string()});
    let status = json!({"status": {
        "capacity": resources, "allocatable": resources,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "StandIn", "message": "an object alone",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
    }});
    nodes
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": 40,
            "renewTime": now.replace('Z', ".000000Z"),
        },
    });
    leases(client)
        .patch(&name, &PatchParams::apply("stand-ins").force(), &Patch::Apply(lease))
        .await?;
    Ok(())
}

async fn keep_nodes(client: Client) {
    loop {
        tokio::time::sleep(SIGN_EVERY).await;
        for number in 1..=NODES {
            if let Err(error) = sign(&client, number).await {
                eprintln!("      … {} says nothing: {error:#}", node_name(number));
            }
        }
    }
}

/// As Kubernetes writes times.
fn now() -> String {
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// Lets pods be ready as soon as they have a node, and be gone as soon as they are to go.
async fn keep_pods(client: Client, namespace: String) {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut addresses: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
    let mut next: u16 = 256;
    loop {
        if let Ok(stream) = pods.watch(&WatchParams::default(), "0").await {
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(event)) = stream.next().await {
                let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else {
                    continue;
                };
                let name = pod.name_any();
                let address = *addresses.entry(name.clone()).or_insert_with(|| {
                    next = next.wrapping_add(1).max(256);
                    let [high, low] = next.to_be_bytes();
                    Ipv4Addr::new(198, 18, high, low)
                });
                if let Err(error) = keep_pod(&pods, &pod, address).await {
                    eprintln!("      … pod {name}: {error:#}");
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn keep_pod(pods: &Api<Pod>, pod: &Pod, address: Ipv4Addr) -> Result<()> {
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let at_once = DeleteParams::default().grace_period(0);
        // Its own deletion, or that of its namespace, may have been faster.
        let _ = pods.delete(&name, &at_once).await;
        return Ok(());
    }
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    if !has_node || runs {
        return Ok(());
    }
    let now = now();
    let condition = |of: &str| json!({"type": of, "status": "True", "lastTransitionTime": now});
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let containers: Vec<Value> = containers
        .map(|container| {
            json!({
                "name": container.name, "ready": true, "started": true, "restartCount": 0,
                "image": container.image, "imageID": "", "containerID": format!("containerd://{name}"),
                "state": {"running": {"startedAt": now}},
            })
        })
        .collect();
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let status = json!({"status": {
        "phase": "Running", "startTime": now, "podIP": address, "podIPs": [{"ip": address}],
        "conditions": conditions, "containerStatuses": containers,
    }});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    Ok(())
}

/// Answers everything that is asked of any pod.
async fn answer(listener: TcpListener) {
    let load = encode(&Load {
        version: VERSION,
        incarnation: 1,
        uptime_ms: 3_600_000,
        phase: Phase::Serving.into(),
        storage_attached: true,
        clients: Some(0),
        connections: Some(0),
        attaching_clients: Some(0),
        connects_total: Some(0),
        accepts_total: Some(0),
        publishes_in_total: Some(0),
        deliveries_out_total: Some(0),
        bytes_in_total: Some(0),
        bytes_out_total: Some(0),
        moves: Some(Moves::default()),
        ..Load::default()
    });
    let load: &'static [u8] = Box::leak(load.into_boxed_slice());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, load))),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Metrics as a proxy has them that nothing was said to.
const METRICS: &[u8] = b"# TYPE freshet_proxy_clients gauge\nfreshet_proxy_clients 0\n# EOF\n";

async fn serve(mut stream: TcpStream, load: &[u8]) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = if request.starts_with(b"GET /loadz ") {
            load
        } else {
            METRICS
        };
        request.clear();
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
