//! Instances beside each other, and that nothing of one stays.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::node::{self, Instance, UpOptions, cgroup, network, process};
use freshet_e2e::{Cluster, pod_process};

use crate::tools;

/// Folders of the machine in which a Kubernetes leaves things if nobody takes care.
const FOLDERS: [&str; 9] = [
    "/run",
    "/run/lock",
    "/run/netns",
    "/run/containerd",
    "/var/lib",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log",
    "/opt",
];

/// What of an instance the machine would show: links, mounts, namespaces, cgroups, folders.
fn traces(instance: &Instance) -> Result<BTreeSet<String>> {
    let name = instance.name().to_string();
    let mut found = BTreeSet::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let state = instance.state().display().to_string();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&state) || line.contains(&instance.cgroup()))
            .map(str::to_owned),
    );
    found.extend(
        instance
            .possible_namespaces()
            .into_iter()
            .filter(|name| network::namespace_path(name).exists()),
    );
    found.extend(
        cgroup::processes(&instance.cgroup())?
            .iter()
            .map(|pid| format!("process {pid} in the cgroup")),
    );
    for folder in FOLDERS.map(Path::new).into_iter().filter(|folder| folder.exists()) {
        let entries = std::fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.path().display().to_string());
        found.extend(entries.filter(|path| path.contains(&format!("freshet-{name}"))));
    }
    for process in std::fs::read_dir("/proc")?.flatten() {
        // Those that ended meanwhile say nothing.
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&state) {
            found.insert(format!("process {:?}: {command}", process.file_name()));
        }
    }
    if instance.state().exists() {
        found.insert(state);
    }
    Ok(found)
}

/// What the machine shows whether or not the names of instances are in it.
fn machine() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/sys/class/net")?.flatten() {
        found.insert(entry.path().display().to_string());
    }
    for folder in FOLDERS.map(Path::new).into_iter().filter(|folder| folder.exists()) {
        found.extend(
            std::fs::read_dir(folder)?
                .flatten()
                .map(|entry| entry.path().display().to_string()),
        );
    }
    Ok(found)
}

async fn await_no_traces(instance: &Instance) -> Result<()> {
    // The kernel takes processes of a namespace down behind the back of whoever deleted it.
    await_condition("nothing is left", Duration::from_secs(20), async || {
        let left = traces(instance)?;
        Ok(if left.is_empty() {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{left:#?}"))
        })
    })
    .await
}

#[tokio::test]
async fn two_instances_run_beside_each_other_and_leave_no_trace() -> Result<()> {
    let (first, second) = (
        Instance::named("beside-1".parse()?),
        Instance::named("beside-2".parse()?),
    );
    let before = machine()?;
    let (up_first, up_second) = tokio::join!(
        node::up(&first, UpOptions::default()),
        node::up(&second, UpOptions { nodes: Some(2) })
    );
    let checked = async {
        let (up_first, up_second) = (up_first?, up_second?);
        ensure!(up_first.nodes()[0].address != up_second.nodes()[0].address);
        ensure!((up_first.nodes().len(), up_second.nodes().len()) == (1, 2));
        for cluster in [&up_first, &up_second] {
            cluster
                .kubectl()
                .run(&[
                    "create",
                    "configmap",
                    "mark",
                    &format!("--from-literal=of={}", cluster.instance().name()),
                ])
                .await?;
        }
        let mark = ["get", "configmap", "mark", "--output=jsonpath={.data.of}"];
        ensure!(up_first.kubectl().run(&mark).await? == "beside-1");
        // The first goes; the second does not notice.
        node::down(&first).await?;
        await_no_traces(&first).await?;
        ensure!(up_second.kubectl().run(&mark).await? == "beside-2");
        let image = tools::load(&up_second).await?;
        let spec = tools::pod_spec(&image, "exec sleep 600");
        up_second
            .kubectl()
            .apply(&[tools::pod("later", "default", &spec)])
            .await?;
        let wait = ["wait", "--for=condition=Ready", "pod/later", "--timeout=60s"];
        up_second.kubectl().run(&wait).await?;
        anyhow::Ok(())
    }
    .await;
    node::down(&first).await?;
    node::down(&second).await?;
    checked?;
    await_no_traces(&second).await?;
    let left: Vec<String> = machine()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left on the machine: {left:?}");
    Ok(())
}

#[tokio::test]
async fn an_instance_of_which_everything_was_killed_is_started_again_and_leaves_no_trace() -> Result<()> {
    let instance = Instance::named("killed".parse()?);
    let checked = async {
        let cluster = node::up(&instance, UpOptions::default()).await?;
        let image = tools::load(&cluster).await?;
        // Deaf to a request to end, and without anybody to ask it: its shim outlives containerd.
        let deaf = tools::pod_spec(&image, "trap '' TERM; while :; do sleep 600; done");
        cluster.kubectl().apply(&[tools::pod("deaf", "default", &deaf)]).await?;
        cluster
            .kubectl()
            .run(&["wait", "--for=condition=Ready", "pod/deaf", "--timeout=60s"])
            .await?;
        let pid = pod_process::container_pid(&cluster, "default", "deaf", "tools").await?;
        kill_everything(&instance).await?;
        let again = node::up(&instance, UpOptions::default()).await?;
        // The container never noticed.
        ensure!(pod_process::container_pid(&again, "default", "deaf", "tools").await? == pid);
        kill_everything(&instance).await?;
        // Not even what was written down is needed to take it away.
        std::fs::remove_file(instance.state().join("instance.json"))?;
        ensure!(Cluster::open(&instance).await.is_err());
        anyhow::Ok(())
    }
    .await;
    node::down(&instance).await?;
    checked?;
    await_no_traces(&instance).await
}

async fn kill_everything(instance: &Instance) -> Result<()> {
    for (name, started) in process::started(instance) {
        started.kill(&name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn taking_down_what_is_not_there_is_no_error() -> Result<()> {
    let instance = Instance::named("never-there".parse()?);
    node::down(&instance).await?;
    await_no_traces(&instance).await
}
