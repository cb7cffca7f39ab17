//! The network of an instance: a namespace for each node and one for the bridge between them and the machine.
//!
//! ```text
//! machine: freshet<slot> (172.30.<slot>.254)
//!    |
//! freshet-<name>-switch: bridge br0
//!    |                       |
//! freshet-<name>-node1: eth0 (.1)   freshet-<name>-node2: eth0 (.2)
//! ```
//!
//! The bridge has a namespace to itself so that the packet filter of no node, and none of the machine, sees frames
//! that are not for it. There is no default route: what is meant for elsewhere is refused at once, and the machine
//! forwards nothing that comes from the bridge.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use rustix::thread::LinkNameSpaceType;
use serde::Deserialize;
use tokio::process::Command;

use super::addresses::Addresses;
use super::instance::{Instance, node_name};
use super::packages::find_program;
use crate::command;

/// Where `ip netns` keeps the namespaces that have names.
pub const NAMESPACES: &str = "/run/netns";
/// How the names of all instances' namespaces begin.
pub const PREFIX: &str = "freshet-";
const BRIDGE: &str = "br0";
/// The machine's end, as the switch calls it.
const HOST_PORT: &str = "host";
/// A node's end of its link.
const NODE_LINK: &str = "eth0";

/// The file of a named network namespace.
#[must_use]
pub fn namespace_path(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// The machine's end of the link to an instance.
#[must_use]
pub fn host_link(slot: u8) -> String {
    format!("freshet{slot}")
}

/// Makes the namespaces, links, addresses and routes of an instance that are missing.
///
/// # Errors
/// When `ip` refuses, or the kernel lacks bridges or packet filters for them.
pub async fn ensure(instance: &Instance, slot: u8, nodes: u8) -> anyhow::Result<()> {
    let addresses = Addresses::of_slot(slot);
    let switch = instance.switch_namespace();
    ensure_switch(&switch).await?;
    ensure_host_link(&switch, slot, addresses).await?;
    for number in 1..=nodes {
        ensure_node(instance, &switch, number, addresses).await?;
    }
    // Pods of other nodes are behind these; the machine reaches pods and Services the same way.
    for number in 1..=nodes {
        for other in (1..=nodes).filter(|other| *other != number) {
            let via = addresses.node(other).to_string();
            ip_in(
                &instance.node_namespace(number),
                &["route", "replace", &addresses.pods_of_node(other), "via", &via],
            )
            .await?;
        }
        let via = addresses.node(number).to_string();
        ip(&["route", "replace", &addresses.pods_of_node(number), "via", &via]).await?;
    }
    ip(&[
        "route",
        "replace",
        &addresses.services(),
        "via",
        &addresses.node(1).to_string(),
    ])
    .await
    .map(drop)
}

async fn ensure_switch(switch: &str) -> anyhow::Result<()> {
    ensure_namespace(switch).await?;
    if !has_link(Some(switch), BRIDGE).await {
        ip_in(switch, &["link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"]).await?;
    }
    // Frames on this bridge are the nodes' business, not a packet filter's.
    let _ = write_sysctl(switch, "net/bridge/bridge-nf-call-iptables", "0");
    ip_in(switch, &["link", "set", BRIDGE, "up"]).await.map(drop)
}

async fn ensure_host_link(switch: &str, slot: u8, addresses: Addresses) -> anyhow::Result<()> {
    let link = host_link(slot);
    if !has_link(None, &link).await {
        ip(&[
            "link", "add", &link, "type", "veth", "peer", "name", HOST_PORT, "netns", switch,
        ])
        .await?;
    }
    ip_in(switch, &["link", "set", HOST_PORT, "master", BRIDGE, "up"]).await?;
    // Before it comes up: nothing from the bridge is forwarded, and no other address of the machine answers on it.
    let settings = format!("/proc/sys/net/ipv4/conf/{link}");
    for (setting, value) in [("forwarding", "0"), ("arp_ignore", "1")] {
        let path = format!("{settings}/{setting}");
        std::fs::write(&path, value).with_context(|| format!("cannot write {path}"))?;
    }
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1");
    ip(&["address", "replace", &format!("{}/24", addresses.host()), "dev", &link]).await?;
    ip(&["link", "set", &link, "up"]).await.map(drop)
}

async fn ensure_node(instance: &Instance, switch: &str, number: u8, addresses: Addresses) -> anyhow::Result<()> {
    let namespace = instance.node_namespace(number);
    ensure_namespace(&namespace).await?;
    if !has_link(Some(&namespace), NODE_LINK).await {
        // Both ends are made at once: a port that is left over has no other end, and would be in the way.
        if has_link(Some(switch), &node_name(number)).await {
            ip_in(switch, &["link", "delete", &node_name(number)]).await?;
        }
        let port = node_name(number);
        let peer = ["peer", "name", NODE_LINK, "netns", namespace.as_str()];
        ip_in(
            switch,
            &[["link", "add", &port, "type", "veth"].as_slice(), peer.as_slice()].concat(),
        )
        .await?;
    }
    ip_in(switch, &["link", "set", &node_name(number), "master", BRIDGE, "up"]).await?;
    ip_in(
        &namespace,
        &[
            "address",
            "replace",
            &format!("{}/24", addresses.node(number)),
            "dev",
            NODE_LINK,
        ],
    )
    .await?;
    ip_in(&namespace, &["link", "set", NODE_LINK, "up"]).await?;
    load_bridge_filter(&namespace).await?;
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        // Traffic between pods of one node crosses a bridge, and Services must see it.
        ("net/bridge/bridge-nf-call-iptables", "1"),
        // NodePorts on loopback.
        ("net/ipv4/conf/all/route_localnet", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    ] {
        write_sysctl(&namespace, setting, value)?;
    }
    Ok(())
}

/// The kernel has this setting only while the module is loaded, or when it is built in.
async fn load_bridge_filter(namespace: &str) -> anyhow::Result<()> {
    let is_there = || {
        in_namespace(namespace, || {
            Ok(Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists())
        })
    };
    if is_there()? {
        return Ok(());
    }
    let loaded = command::run(Command::new("modprobe").arg("br_netfilter")).await;
    if is_there()? {
        return Ok(());
    }
    let why = loaded.err().map_or_else(String::new, |error| format!(": {error:#}"));
    Err(anyhow!(
        "the kernel has no br_netfilter, which Services between pods of one node need{why}"
    ))
}

async fn ensure_namespace(name: &str) -> anyhow::Result<()> {
    // A run that was interrupted may leave a file that is no namespace.
    if in_namespace(name, || Ok(())).is_err() {
        let _ = std::fs::remove_file(namespace_path(name));
        ip(&["netns", "add", name]).await?;
    }
    ip_in(name, &["link", "set", "lo", "up"]).await.map(drop)
}

/// Deletes the namespaces of an instance, and the links that end in them.
///
/// # Errors
/// When one stays.
pub async fn delete(instance: &Instance) -> anyhow::Result<()> {
    let switch = instance.switch_namespace();
    if has_link(Some(&switch), HOST_PORT).await {
        // The kernel takes a namespace down later; the machine's end must be gone now, for the next instance.
        ip_in(&switch, &["link", "delete", HOST_PORT]).await?;
    }
    for name in instance.possible_namespaces() {
        if namespace_path(&name).exists() {
            ip(&["netns", "delete", &name]).await?;
        }
    }
    Ok(())
}

/// Tells whether any instance of this machine has a namespace.
#[must_use]
pub fn has_any_instance() -> bool {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
}

/// Removes the folder of named namespaces when the last one is gone; it is a mount of its own.
pub fn remove_namespaces_folder_if_empty() {
    let is_empty = std::fs::read_dir(NAMESPACES).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty && rustix::mount::unmount(NAMESPACES, rustix::mount::UnmountFlags::empty()).is_ok() {
        let _ = std::fs::remove_dir(NAMESPACES);
    }
}

/// The processes that run in a namespace.
///
/// # Errors
/// When `ip` does not say.
pub async fn processes(name: &str) -> anyhow::Result<Vec<u32>> {
    if !namespace_path(name).exists() {
        return Ok(Vec::new());
    }
    let listed = ip(&["netns", "pids", name]).await?;
    listed
        .lines()
        .map(|line| line.trim().parse().with_context(|| format!("no process id: {line}")))
        .collect()
}

/// The destinations of the machine's routes and its own addresses.
///
/// # Errors
/// When `ip` does not say.
pub async fn destinations_in_use() -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
    }
    let routes: Vec<Route> = serde_json::from_str(&ip(&["-json", "-4", "route", "show", "table", "all"]).await?)?;
    Ok(routes.into_iter().map(|route| route.dst).collect())
}

/// Runs `work` on a thread of its own inside a network namespace.
///
/// # Errors
/// When the namespace is not there, and what `work` returns.
pub fn in_namespace<T, W>(name: &str, work: W) -> anyhow::Result<T>
where
    T: Send,
    W: FnOnce() -> anyhow::Result<T> + Send,
{
    use std::os::fd::AsFd;
    let path = namespace_path(name);
    let file = std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {}", path.display()))?;
            work()
        });
        inside
            .join()
            .map_err(|_| anyhow!("the thread in {} ended early", path.display()))?
    })
}

fn write_sysctl(namespace: &str, setting: &str, value: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/{setting}");
    in_namespace(namespace, || {
        std::fs::write(&path, value).with_context(|| format!("cannot write {path} in {namespace}"))
    })
}

async fn has_link(namespace: Option<&str>, link: &str) -> bool {
    let shown = match namespace {
        Some(namespace) => ip_in(namespace, &["link", "show", link]).await,
        None => ip(&["link", "show", link]).await,
    };
    shown.is_ok()
}

async fn ip_in(namespace: &str, arguments: &[&str]) -> anyhow::Result<String> {
    ip(&[&["-n", namespace], arguments].concat()).await
}

async fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    command::run(Command::new(find_program("ip")?).args(arguments)).await
}
