//! Pods on two nodes reach each other, Services, DNS and the API server; volumes are a non-root pod's to write; what
//! is killed comes back.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::kubectl::Kubectl;
use freshet_e2e::node::{UpOptions, network, up};
use freshet_e2e::{Cluster, pod_process, with_temp_namespace};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::tools;

const DEADLINE: Duration = Duration::from_secs(120);
/// Answers each connection with the pod's name.
const ECHO: &str = "exec socat TCP-LISTEN:8080,fork,reuseaddr 'SYSTEM:echo $HOSTNAME_OF_POD'";

async fn two_nodes() -> Result<Cluster> {
    Cluster::for_tests(UpOptions { nodes: Some(2) }).await
}

#[tokio::test]
async fn pods_of_two_nodes_are_reached_by_service_name_cluster_address_and_node_port() -> Result<()> {
    let cluster = two_nodes().await?;
    let image = tools::load(&cluster).await?;
    with_temp_namespace(&cluster, "services", async |namespace| {
        let kubectl = cluster.kubectl();
        kubectl.apply(&echo(namespace, &image)).await?;
        let pods = await_pods(&kubectl, namespace, 2).await?;
        let nodes: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
        ensure!(nodes.len() == 2, "pods are on {nodes:?}");
        let names: BTreeSet<String> = pods
            .iter()
            .filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned()))
            .collect();

        // From this machine, at the port of either node.
        let port = field(&kubectl, namespace, "service/echo", "{.spec.ports[0].nodePort}")
            .await?
            .parse()?;
        for node in cluster.nodes() {
            let heard = collect(names.len(), async || answer((node.address, port).into()).await).await?;
            ensure!(heard == names, "at {} answered {heard:?} of {names:?}", node.name);
        }
        // From inside the first node, on loopback.
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let inside = network::in_namespace(&cluster.instance().node_namespace(1), || {
            let mut text = String::new();
            std::net::TcpStream::connect_timeout(&loopback, Duration::from_secs(5))?.read_to_string(&mut text)?;
            Ok(text)
        })?;
        ensure!(names.contains(inside.trim()), "on loopback answered {inside:?}");
        // From a pod on each node, by name and by the Service's address: names from the cluster's DNS.
        let address = field(&kubectl, namespace, "service/echo", "{.spec.clusterIP}").await?;
        for pod in &names {
            for host in ["echo", &format!("echo.{namespace}.svc.cluster.local"), &address] {
                let heard = collect(names.len(), async || {
                    let connect = format!("TCP:{host}:8080");
                    kubectl
                        .run(&["exec", "-n", namespace, pod, "--", "socat", "-u", &connect, "-"])
                        .await
                })
                .await?;
                ensure!(heard == names, "from {pod} at {host} answered {heard:?}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_reaches_the_api_server_by_name_and_nothing_outside() -> Result<()> {
    let cluster = two_nodes().await?;
    let image = tools::load(&cluster).await?;
    with_temp_namespace(&cluster, "reach", async |namespace| {
        let kubectl = cluster.kubectl();
        kubectl
            .apply(&[tools::pod(
                "reach",
                namespace,
                &tools::pod_spec(&image, "exec sleep 600"),
            )])
            .await?;
        await_pods(&kubectl, namespace, 1).await?;
        let connect = async |target: &str| {
            kubectl
                .run(&[
                    "exec",
                    "-n",
                    namespace,
                    "reach",
                    "--",
                    "socat",
                    "-u",
                    "OPEN:/dev/null",
                    target,
                ])
                .await
        };
        connect("TCP:kubernetes.default:443,connect-timeout=5").await?;
        // TEST-NET-3 of RFC 5737 stands for whatever is outside; a cluster with a way out would time out instead.
        let outside = connect("TCP:203.0.113.1:443,connect-timeout=30")
            .await
            .unwrap_err()
            .to_string();
        ensure!(outside.contains("unreachable"), "{outside}");
        let resolved = kubectl
            .run(&["exec", "-n", namespace, "reach", "--", "getent", "hosts", "example.org"])
            .await;
        ensure!(
            resolved.is_err(),
            "a name outside of the cluster was resolved: {resolved:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_volume_is_writable_without_root_survives_its_pod_and_goes_with_its_claim() -> Result<()> {
    let cluster = two_nodes().await?;
    let image = tools::load(&cluster).await?;
    let folder = with_temp_namespace(&cluster, "volumes", async |namespace| {
        let kubectl = cluster.kubectl();
        kubectl.apply(&[keeper(namespace, &image)]).await?;
        await_pods(&kubectl, namespace, 1).await?;
        let first = field(&kubectl, namespace, "pod/keeper-0", "{.metadata.uid}").await?;
        kubectl.run(&["delete", "pod", "-n", namespace, "keeper-0"]).await?;
        let lines = await_condition("the second pod has written", DEADLINE, async || {
            let said = kubectl.run(&["logs", "-n", namespace, "keeper-0"]).await?;
            Ok(if said.lines().count() == 2 {
                Observed::Met(said)
            } else {
                Observed::NotYet(said)
            })
        })
        .await?;
        let second = field(&kubectl, namespace, "pod/keeper-0", "{.metadata.uid}").await?;
        ensure!(lines.lines().eq([first.as_str(), second.as_str()]), "{lines}");

        let volumes: Api<PersistentVolume> = Api::all(cluster.client());
        let name = field(&kubectl, namespace, "pvc/data-keeper-0", "{.spec.volumeName}").await?;
        let volume = serde_json::to_value(volumes.get(&name).await?)?;
        let node = field(&kubectl, namespace, "pod/keeper-0", "{.spec.nodeName}").await?;
        let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        ensure!(terms[0]["matchExpressions"][0]["values"][0] == node.as_str(), "{terms}");
        let folder = volume["spec"]["local"]["path"]
            .as_str()
            .context("not a local volume")?
            .to_owned();
        ensure!(std::path::Path::new(&folder).exists());
        Ok(folder)
    })
    .await?;
    await_condition("the volume and its folder are gone", DEADLINE, async || {
        let volumes: Api<PersistentVolume> = Api::all(cluster.client());
        let left = volumes.list(&ListParams::default()).await?.items;
        let stays = |volume: &PersistentVolume| {
            serde_json::to_value(volume).is_ok_and(|v| v["spec"]["local"]["path"] == folder)
        };
        let is_gone = !left.iter().any(stays) && !std::path::Path::new(&folder).exists();
        Ok(if is_gone {
            Observed::Met(())
        } else {
            Observed::NotYet(folder.clone())
        })
    })
    .await
}

#[tokio::test]
async fn a_container_that_is_killed_is_started_again() -> Result<()> {
    let cluster = two_nodes().await?;
    let image = tools::load(&cluster).await?;
    with_temp_namespace(&cluster, "kill", async |namespace| {
        let kubectl = cluster.kubectl();
        kubectl
            .apply(&[tools::pod(
                "victim",
                namespace,
                &tools::pod_spec(&image, "exec sleep 600"),
            )])
            .await?;
        await_pods(&kubectl, namespace, 1).await?;
        let pid = pod_process::kill_container(&cluster, namespace, "victim", "tools").await?;
        await_condition("the container was started again", DEADLINE, async || {
            let restarts = field(
                &kubectl,
                namespace,
                "pod/victim",
                "{.status.containerStatuses[0].restartCount}",
            )
            .await?;
            Ok(if restarts == "1" {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{restarts} restarts"))
            })
        })
        .await?;
        let again = await_condition("it runs", DEADLINE, async || {
            let pid = pod_process::container_pid(&cluster, namespace, "victim", "tools").await?;
            Ok(Observed::Met(pid))
        })
        .await?;
        ensure!(again != pid);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_was_killed_is_started_by_the_next_up() -> Result<()> {
    let cluster = two_nodes().await?;
    let image = tools::load(&cluster).await?;
    // Not one that the other tests of this instance cannot do without for a moment.
    cluster.kill_server("kube-proxy-node2").await?;
    up(cluster.instance(), UpOptions::default()).await?;
    // It works again: an endpoint that is made now is reached through the second node.
    with_temp_namespace(&cluster, "again", async |namespace| {
        let kubectl = cluster.kubectl();
        kubectl.apply(&echo(namespace, &image)).await?;
        let pods = await_pods(&kubectl, namespace, 2).await?;
        let port = field(&kubectl, namespace, "service/echo", "{.spec.ports[0].nodePort}")
            .await?
            .parse()?;
        let second = cluster.nodes()[1].address;
        let heard = collect(pods.len(), async || answer((second, port).into()).await).await?;
        ensure!(heard.len() == pods.len(), "{heard:?}");
        Ok(())
    })
    .await
}

/// Two pods, kept apart, and a Service before them.
fn echo(namespace: &str, image: &str) -> Vec<Value> {
    let labels = json!({"app": "echo"});
    let mut spec = tools::pod_spec(image, ECHO);
    spec["containers"][0]["env"] =
        json!([{"name": "HOSTNAME_OF_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    spec["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    spec["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }]);
    vec![
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "echo", "namespace": namespace},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo", "namespace": namespace},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 8080}]},
        }),
    ]
}

/// A StatefulSet whose pod adds its uid to a file on a volume, and prints the file.
fn keeper(namespace: &str, image: &str) -> Value {
    let labels = json!({"app": "keeper"});
    let mut spec = tools::pod_spec(
        image,
        "echo $UID_OF_POD >>/data/uids && cat /data/uids && exec sleep 600",
    );
    spec["containers"][0]["env"] =
        json!([{"name": "UID_OF_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "keeper", "namespace": namespace},
        "spec": {
            "replicas": 1, "serviceName": "keeper", "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
            }],
        },
    })
}

/// Waits until a namespace has that many pods and all are ready; returns them.
async fn await_pods(kubectl: &Kubectl, namespace: &str, count: usize) -> Result<Vec<Value>> {
    await_condition(&format!("{count} pods are ready"), DEADLINE, async || {
        let listed = kubectl.run(&["get", "pods", "-n", namespace, "--output=json"]).await?;
        let listed: Value = serde_json::from_str(&listed)?;
        let pods = listed["items"].as_array().cloned().unwrap_or_default();
        let is_ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        Ok(match pods.len() == count && pods.iter().all(is_ready) {
            true => Observed::Met(pods),
            false => Observed::NotYet(kubectl.run(&["get", "pods", "-n", namespace]).await?),
        })
    })
    .await
}

async fn field(kubectl: &Kubectl, namespace: &str, object: &str, path: &str) -> Result<String> {
    let output = format!("--output=jsonpath={path}");
    Ok(kubectl
        .run(&["get", object, "-n", namespace, &output])
        .await?
        .trim()
        .to_owned())
}

/// What a server says to whoever connects.
async fn answer(address: SocketAddr) -> Result<String> {
    let mut stream = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(address)).await??;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Asks until that many different answers were heard: which pod answers is chosen at random.
async fn collect(count: usize, mut ask: impl AsyncFnMut() -> Result<String>) -> Result<BTreeSet<String>> {
    let mut heard = BTreeSet::new();
    await_condition(&format!("{count} different answers"), DEADLINE, async || {
        heard.insert(ask().await?.trim().to_owned());
        Ok(if heard.len() == count {
            Observed::Met(heard.clone())
        } else {
            Observed::NotYet(format!("{heard:?}"))
        })
    })
    .await
}
