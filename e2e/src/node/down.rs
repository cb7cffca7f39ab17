//! Ends an instance and removes every trace of it, however it was left.

use anyhow::{Context, bail};

use super::addresses::MAX_NODES;
use super::containerd::Containerd;
use super::instance::Instance;
use super::machine::Machine;
use super::process::{self, Started};
use super::{cgroup, mounts, network};
use crate::progress::step;

/// How often is looked for processes that outlived the others.
const KILL_ROUNDS: u32 = 5;

/// Takes an instance away, if there is anything of it.
///
/// # Errors
/// When something stays: with what.
pub async fn down(instance: &Instance) -> anyhow::Result<()> {
    super::up::require_root()?;
    let _lock = instance.lock().await?;
    let what = format!("embedded Kubernetes \"{}\"", instance.name());
    step(&what, async |step| {
        let was_there = is_there(instance)?;
        remove(instance).await?;
        step.outcome(if was_there { "removed" } else { "there was none" });
        Ok(())
    })
    .await
}

/// Tells whether anything of an instance is on this machine.
///
/// # Errors
/// When the kernel does not say.
pub fn is_there(instance: &Instance) -> anyhow::Result<bool> {
    let namespaces = instance.possible_namespaces();
    Ok(instance.state().exists()
        || namespaces.iter().any(|name| network::namespace_path(name).exists())
        || !cgroup::processes(&instance.cgroup())?.is_empty())
}

/// Removes an instance whose lock the caller holds.
///
/// Needs nothing that `up` wrote down: names, paths and what the kernel knows are enough.
pub(super) async fn remove(instance: &Instance) -> anyhow::Result<()> {
    let servers = process::started(instance);
    // Whatever would start containers again goes before the containers.
    stop(&servers, |name| !name.starts_with("containerd")).await?;
    for number in (1..=MAX_NODES).filter(|number| Containerd::of_node(instance, *number).socket().exists()) {
        Containerd::of_node(instance, number).end_tasks().await;
    }
    stop(&servers, |name| name.starts_with("containerd")).await?;
    kill_leftovers(instance).await?;
    mounts::unmount_below(&instance.state())?;
    network::delete(instance).await?;
    cgroup::remove(&instance.cgroup())?;
    if instance.state().exists() {
        std::fs::remove_dir_all(instance.state())
            .with_context(|| format!("cannot remove {}", instance.state().display()))?;
    }
    Machine::lock(instance).await?.remove_if_last()?;
    // Empty when this was the last.
    let _ = std::fs::remove_dir(instance.root());
    Ok(())
}

async fn stop(servers: &[(String, Started)], which: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let chosen = servers.iter().filter(|(name, _)| which(name));
    futures::future::try_join_all(chosen.map(|(name, started)| started.stop(name)))
        .await
        .map(drop)
}

/// Kills what an interrupted run left: all that runs in the instance's namespaces and cgroups is the instance's.
async fn kill_leftovers(instance: &Instance) -> anyhow::Result<()> {
    // A process may have started another one between being seen and being killed.
    for _ in 0..KILL_ROUNDS {
        let mut left = cgroup::processes(&instance.cgroup())?;
        for name in instance.possible_namespaces() {
            left.extend(network::processes(&name).await?);
        }
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            process::kill(pid).await?;
        }
    }
    bail!("processes of the instance \"{}\" keep coming back", instance.name())
}
