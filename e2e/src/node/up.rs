//! Starts an instance, or what is missing of one.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tokio::net::TcpStream;

use super::addresses::{Addresses, MAX_NODES};
use super::binaries::{self, Binaries, Program};
use super::containerd::{Containerd, PAUSE_IMAGE};
use super::instance::{Instance, Record, boot_id, node_name};
use super::machine::Machine;
use super::pki::Pki;
use super::process::Server;
use super::{cgroup, control_plane, dns, down, kubelet, mounts, network, packages, storage_class};
use crate::Cluster;
use crate::condition::{Observed, await_condition};
use crate::kubectl::Kubectl;
use crate::oci::{Archive, Entry, Image, NON_ROOT};
use crate::progress::{Step, step};

/// Free space that an instance needs for its images, logs and volumes.
const SPACE_BYTES: u64 = 3 << 30;
/// How long the API server may take; measured 4 s on two idle cores.
const API_SERVER_DEADLINE: Duration = Duration::from_secs(120);
/// How long a node may take until it is Ready; measured 6 s.
const NODE_DEADLINE: Duration = Duration::from_secs(120);
/// Where a kubelet listens on its node.
const KUBELET_PORT: u16 = 10_250;
/// How long DNS may take until it has read the cluster.
const DNS_DEADLINE: Duration = Duration::from_secs(60);

/// What a caller of [`up()`] may choose.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpOptions {
    /// How many nodes; `None` for as many as there are, and one in a new instance.
    pub nodes: Option<u8>,
}

/// What is to be done with an instance of which something may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Start what is missing.
    Continue { nodes: u8 },
    /// Take away what is there, and start anew.
    Anew { nodes: u8 },
}

/// Brings an instance up; one that runs is only looked at.
///
/// # Errors
/// When the caller is not root, something that is needed is not there, or a server does not start: with the end of
/// its log.
pub async fn up(instance: &Instance, options: UpOptions) -> anyhow::Result<Cluster> {
    require_root()?;
    let _lock = instance.lock().await?;
    step("Debian packages of a node", async |step| {
        packages::ensure(&[packages::Group::Nodes], step).await
    })
    .await?;
    let binaries = step("Kubernetes programs", async |step| {
        binaries::ensure(Program::ALL, step).await
    })
    .await?;
    let what = format!("embedded Kubernetes \"{}\"", instance.name());
    step(&what, async |step| start(instance, options, &binaries, step).await).await
}

/// Refuses to go on without the rights that network namespaces and containers need.
///
/// # Errors
/// When the caller is not root.
pub fn require_root() -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!(
        "the embedded Kubernetes needs root, for network namespaces and containers; run this as root, or give KUBE_CONTEXT to use a Kubernetes that you have"
    )
}

async fn start(instance: &Instance, options: UpOptions, binaries: &Binaries, step: &Step) -> anyhow::Result<Cluster> {
    let record = prepare(instance, options, binaries, step).await?;
    let addresses = Addresses::of_slot(record.slot);
    network::ensure(instance, record.slot, record.nodes).await?;
    let pki = Pki::ensure(instance, addresses, record.nodes)?;
    let pause = pause_image(binaries)?;
    // Both take seconds, and neither needs the other.
    let (api, nodes) = tokio::join!(
        start_control_plane(instance, addresses, binaries, &pki),
        start_containers(instance, addresses, record.nodes, &pause),
    );
    let mut started = api?;
    started += nodes?;
    step.note("API server and containerd answer");
    for number in 1..=record.nodes {
        let mounts = mounts::namespace_path(instance, number);
        let servers = kubelet::servers(instance, number, addresses, binaries, &pki, &mounts)?;
        for server in &servers {
            started += u32::from(server.ensure_running(instance).await?);
        }
        await_kubelet(instance, addresses.node(number).into(), &servers[0]).await?;
    }
    let cluster = Cluster::open(instance).await?;
    let services = [
        dns::server(instance, addresses, binaries, &pki)?,
        storage_class::server(instance, binaries, &pki),
    ];
    let manifests = [dns::manifests(addresses), storage_class::manifests()].concat();
    Kubectl::embedded(instance, binaries).apply(&manifests).await?;
    for server in &services {
        started += u32::from(server.ensure_running(instance).await?);
    }
    await_nodes(&cluster, record.nodes).await?;
    await_dns(instance, addresses, &services[0]).await?;
    crate::temp_namespace::await_usable(cluster.client(), "default").await?;
    step.outcome(match started {
        0 => format!("runs already, {}", nodes_text(record.nodes)),
        _ => format!(
            "{}, {started} servers started, API server {}",
            nodes_text(record.nodes),
            addresses.api_server_url()
        ),
    });
    Ok(cluster)
}

fn nodes_text(nodes: u8) -> String {
    if nodes == 1 {
        "1 node".to_owned()
    } else {
        format!("{nodes} nodes")
    }
}

/// Decides what is kept of an instance, takes away the rest, and writes down what is to be.
async fn prepare(instance: &Instance, options: UpOptions, binaries: &Binaries, step: &Step) -> anyhow::Result<Record> {
    let (previous, boot_id) = (instance.record(), boot_id()?);
    let plan = plan(previous.as_ref(), &boot_id, binaries, options.nodes)?;
    if let (Plan::Anew { .. }, true) = (plan, instance.state().exists()) {
        step.note("what is left of an earlier run goes first");
        down::remove(instance).await?;
    }
    std::fs::create_dir_all(instance.state()).with_context(|| format!("cannot make {}", instance.state().display()))?;
    binaries::require_space(&instance.state(), SPACE_BYTES)?;
    // Only one run at a time chooses a slot, and it holds it by writing it down.
    let _machine = Machine::lock(instance).await?;
    let record = match (plan, previous) {
        (Plan::Continue { nodes }, Some(previous)) => Record { nodes, ..previous },
        (Plan::Continue { nodes } | Plan::Anew { nodes }, _) => Record {
            slot: instance.choose_slot(&network::destinations_in_use().await?)?,
            nodes,
            boot_id,
            binaries: binaries.folder().to_path_buf(),
        },
    };
    instance.write_record(&record)?;
    Ok(record)
}

/// Decides what is to be done with what `previous` says is there.
fn plan(previous: Option<&Record>, boot_id: &str, binaries: &Binaries, nodes: Option<u8>) -> anyhow::Result<Plan> {
    if let Some(nodes) = nodes
        && !(1..=MAX_NODES).contains(&nodes)
    {
        bail!("an instance has 1 to {MAX_NODES} nodes, not {nodes}");
    }
    let Some(previous) = previous else {
        return Ok(Plan::Anew {
            nodes: nodes.unwrap_or(1),
        });
    };
    let nodes = nodes.unwrap_or(previous.nodes);
    if previous.boot_id != boot_id || previous.binaries != binaries.folder() {
        return Ok(Plan::Anew { nodes });
    }
    if nodes < previous.nodes {
        bail!(
            "the instance has {} nodes; to have {nodes}, take it down first",
            previous.nodes
        );
    }
    Ok(Plan::Continue { nodes })
}

/// Starts etcd and the API server, and what works through it once it answers. Returns how many were started.
async fn start_control_plane(
    instance: &Instance,
    addresses: Addresses,
    binaries: &Binaries,
    pki: &Pki,
) -> anyhow::Result<u32> {
    let mut started = 0;
    for server in control_plane::servers(instance, addresses, binaries, pki)? {
        started += u32::from(server.ensure_running(instance).await?);
        if server.name == Program::KubeApiserver.name() {
            await_api_server(instance, &server).await?;
        }
    }
    Ok(started)
}

async fn await_api_server(instance: &Instance, server: &Server) -> anyhow::Result<()> {
    let client = crate::cluster::client_of(&instance.kubeconfig()).await?;
    let ready = await_condition("the API server is ready", API_SERVER_DEADLINE, async || {
        if let Err(ended) = server.require_running(instance) {
            return Ok(Observed::Met(Err(ended)));
        }
        crate::cluster::get_text(&client, "/readyz").await?;
        Ok(Observed::Met(Ok(())))
    });
    ready.await?
}

/// Starts the containerd of each node, with the image that every pod needs. Returns how many were started.
async fn start_containers(
    instance: &Instance,
    addresses: Addresses,
    nodes: u8,
    pause: &Archive,
) -> anyhow::Result<u32> {
    let mut started = 0;
    for number in 1..=nodes {
        cgroup::ensure(&instance.node_cgroup(number))?;
        let mounts = mounts::ensure(instance, number).await?;
        let containerd = Containerd::of_node(instance, number);
        let server = containerd.server(instance, number, addresses, &mounts)?;
        started += u32::from(server.ensure_running(instance).await?);
        containerd.await_ready(instance, &server).await?;
        containerd.import(pause).await?;
    }
    Ok(started)
}

fn pause_image(binaries: &Binaries) -> anyhow::Result<Archive> {
    let program = binaries.path(Program::Pause);
    let content = std::fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let image = Image {
        name: PAUSE_IMAGE.to_owned(),
        entrypoint: vec!["/pause".into()],
        user: NON_ROOT.to_owned(),
        labels: Vec::new(),
        entries: vec![Entry::file("pause", 0o755, content)],
    };
    image.write(&binaries.folder().join("pause.tar"))
}

/// Waits until a kubelet listens. One whose containerd is still busy with what an earlier life has left ends, and is started
/// again.
async fn await_kubelet(instance: &Instance, node: IpAddr, server: &Server) -> anyhow::Result<()> {
    await_condition(&format!("{} listens", server.name), NODE_DEADLINE, async || {
        if let Err(ended) = server.require_running(instance) {
            server.ensure_running(instance).await?;
            return Ok(Observed::NotYet(format!("{ended:#}")));
        }
        TcpStream::connect((node, KUBELET_PORT)).await?;
        Ok(Observed::Met(()))
    })
    .await
}

async fn await_nodes(cluster: &Cluster, nodes: u8) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(cluster.client());
    for name in (1..=nodes).map(node_name) {
        await_condition(&format!("{name} is Ready"), NODE_DEADLINE, async || {
            let node = api.get(&name).await?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
            Ok(match ready {
                Some(condition) if condition.status == "True" => Observed::Met(()),
                Some(condition) => Observed::NotYet(condition.message.clone().unwrap_or_default()),
                None => Observed::NotYet("no Ready condition".to_owned()),
            })
        })
        .await?;
    }
    Ok(())
}

async fn await_dns(instance: &Instance, addresses: Addresses, server: &Server) -> anyhow::Result<()> {
    let ready = await_condition("the cluster's DNS is ready", DNS_DEADLINE, async || {
        if let Err(ended) = server.require_running(instance) {
            return Ok(Observed::Met(Err(ended)));
        }
        let answer = crate::cluster::http_get((addresses.node(1), dns::READY_PORT).into(), "/ready").await?;
        Ok(if answer.status == 200 {
            Observed::Met(Ok(()))
        } else {
            Observed::NotYet(answer.body)
        })
    });
    ready.await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(boot_id: &str, binaries: &str, nodes: u8) -> Record {
        Record {
            slot: 0,
            nodes,
            boot_id: boot_id.into(),
            binaries: binaries.into(),
        }
    }

    fn plan_for(previous: Option<&Record>, nodes: Option<u8>) -> anyhow::Result<Plan> {
        plan(previous, "boot", &Binaries::in_folder("/bin-a".into()), nodes)
    }

    #[test]
    fn a_new_instance_has_one_node_unless_told_otherwise() {
        assert_eq!(plan_for(None, None).unwrap(), Plan::Anew { nodes: 1 });
        assert_eq!(plan_for(None, Some(2)).unwrap(), Plan::Anew { nodes: 2 });
        assert!(plan_for(None, Some(0)).is_err());
    }

    #[test]
    fn a_second_run_keeps_the_nodes_and_may_add_some_but_takes_none_away() {
        let previous = record("boot", "/bin-a", 2);
        assert_eq!(plan_for(Some(&previous), None).unwrap(), Plan::Continue { nodes: 2 });
        assert_eq!(plan_for(Some(&previous), Some(3)).unwrap(), Plan::Continue { nodes: 3 });
        assert!(plan_for(Some(&previous), Some(1)).is_err());
    }

    #[test]
    fn after_a_reboot_or_with_other_binaries_everything_starts_anew() {
        assert_eq!(
            plan_for(Some(&record("before", "/bin-a", 2)), None).unwrap(),
            Plan::Anew { nodes: 2 }
        );
        assert_eq!(
            plan_for(Some(&record("boot", "/bin-b", 2)), Some(1)).unwrap(),
            Plan::Anew { nodes: 1 }
        );
    }
}
