//! Writes down what a namespace looked like when a test failed.
//!
//! One folder per failure: objects, descriptions, events, and every container's log, with that of its last life.

use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use crate::Cluster;

/// Where the folders are made; below the cache of the project unless it is set.
pub const ENV_FOLDER: &str = "FRESHET_E2E_DIAGNOSTICS";
/// Where the operator runs: what it said belongs to every failure.
const OPERATOR_NAMESPACE: &str = "freshet-system";

/// What is asked for every namespace: file name, arguments.
const QUESTIONS: [(&str, &[&str]); 5] = [
    (
        "objects.txt",
        &["get", "all,configmaps,pvc,pdb,endpointslices", "--output=wide"],
    ),
    (
        "events.txt",
        &["get", "events", "--sort-by=.lastTimestamp", "--output=wide"],
    ),
    ("describe-pods.txt", &["describe", "pods"]),
    (
        "mqttclusters.yaml",
        &["get", "mqttclusters.freshet.dev", "--output=yaml"],
    ),
    (
        "objects.yaml",
        &["get", "deployments,statefulsets,services,pods,pdb", "--output=yaml"],
    ),
];

/// Writes down a namespace, and the operator's, and returns the folder.
///
/// What cannot be had is noted in its file: a failing cluster is just the one that is asked.
///
/// # Errors
/// When the folder cannot be made.
pub async fn collect(cluster: &Cluster, namespace: &str) -> anyhow::Result<PathBuf> {
    let folder = folder_of(namespace)?;
    for namespace in [namespace, OPERATOR_NAMESPACE] {
        collect_namespace(cluster, namespace, &folder.join(namespace)).await?;
    }
    let nodes = answer(cluster, None, &["describe", "nodes"]).await;
    write(&folder.join("nodes.txt"), &nodes)?;
    let logs = format!(
        "The logs of the servers are in {}.\n",
        cluster.instance().state().join("log").display()
    );
    write(&folder.join("servers.txt"), &logs)?;
    Ok(folder)
}

/// Where what is written down of a namespace belongs; whether or not it is there.
///
/// # Errors
/// When nobody says where the cache of the project is.
pub fn folder_of(namespace: &str) -> anyhow::Result<PathBuf> {
    let folder = match std::env::var_os(ENV_FOLDER) {
        Some(folder) => PathBuf::from(folder),
        None => crate::node::binaries::cache_folder()?.join("diagnostics"),
    };
    Ok(folder.join(namespace))
}

async fn collect_namespace(cluster: &Cluster, namespace: &str, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (file, arguments) in QUESTIONS {
        write(&folder.join(file), &answer(cluster, Some(namespace), arguments).await)?;
    }
    let pods: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let listed = match pods.list(&ListParams::default()).await {
        Ok(listed) => listed.items,
        Err(error) => return write(&folder.join("logs.txt"), &format!("no list of pods: {error}\n")),
    };
    for pod in listed {
        let (Some(name), Some(spec)) = (pod.metadata.name, pod.spec) else {
            continue;
        };
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            for (life, file) in [("--previous=false", "log"), ("--previous=true", "previous.log")] {
                let arguments = ["logs", &name, "--container", &container.name, life];
                let said = answer(cluster, Some(namespace), &arguments).await;
                // Most containers have no last life.
                if !said.contains("previous terminated container") {
                    write(&folder.join(format!("{name}.{}.{file}", container.name)), &said)?;
                }
            }
        }
    }
    Ok(())
}

async fn answer(cluster: &Cluster, namespace: Option<&str>, arguments: &[&str]) -> String {
    let namespace = namespace.map(|namespace| format!("--namespace={namespace}"));
    let all: Vec<&str> = namespace
        .iter()
        .map(String::as_str)
        .chain(arguments.iter().copied())
        .collect();
    cluster
        .kubectl()
        .run(&all)
        .await
        .unwrap_or_else(|error| format!("{error:#}\n"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
