//! Which Kubernetes is meant, and what differs between them.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use freshet_e2e::Cluster;
use freshet_e2e::command;
use freshet_e2e::kubectl::{Helm, Kubectl};
use freshet_e2e::node::binaries::Binaries;
use freshet_e2e::node::{self, Instance, UpOptions};
use freshet_e2e::product::Images;
use freshet_e2e::progress::{Step, step};
use tokio::process::Command;

use super::InstanceArgs;
use crate::paths::repository_root;

/// Names a context of the user's kubeconfig.
const ENV_KUBE_CONTEXT: &str = "KUBE_CONTEXT";
/// The cluster that kind is asked for.
const KIND_CLUSTER: &str = "freshet";
/// How contexts of kind's clusters begin.
const KIND_CONTEXT_PREFIX: &str = "kind-";

/// A Kubernetes to install on.
pub(crate) enum Target {
    /// One that somebody else looks after.
    Context(String),
    /// A cluster of kind's, ours.
    Kind,
    /// A real one in network namespaces of this machine; the handle once it is up.
    Embedded(Instance, Option<Box<Cluster>>),
}

impl Target {
    /// Takes the context that is given, else kind where Docker answers, else the embedded one.
    pub(crate) async fn choose(instance: &InstanceArgs) -> Result<Self> {
        if let Some(context) = given_context() {
            return Ok(Self::Context(context));
        }
        if kind_is_usable().await {
            return Ok(Self::Kind);
        }
        Ok(Self::Embedded(instance.instance(), None))
    }

    /// Everything that [`Self::choose`] may have chosen before: kind or Docker may have come or gone since.
    pub(crate) async fn all_to_remove(instance: &InstanceArgs) -> Vec<Self> {
        if let Some(context) = given_context() {
            return vec![Self::Context(context)];
        }
        let mut all = vec![Self::Embedded(instance.instance(), None)];
        if kind_is_usable().await {
            all.push(Self::Kind);
        }
        all
    }

    /// Starts it, where that is ours to do.
    pub(crate) async fn start(&mut self, options: UpOptions) -> Result<()> {
        match self {
            Self::Context(_) => Ok(()),
            Self::Kind => step("Kubernetes by kind", async |step| create_kind(step).await).await,
            Self::Embedded(instance, cluster) => {
                *cluster = Some(Box::new(node::up(instance, options).await?));
                Ok(())
            }
        }
    }

    /// Tells whether images are given to it as archives; else it pulls them from a registry.
    pub(crate) fn takes_archives(&self) -> bool {
        match self {
            Self::Kind | Self::Embedded(..) => true,
            Self::Context(context) => context.starts_with(KIND_CONTEXT_PREFIX),
        }
    }

    /// Gives it the images that it does not have.
    pub(crate) async fn load(&self, images: &Images, step: &Step) -> Result<()> {
        let Some(archives) = images.archives() else {
            step.outcome("pulled by the nodes");
            return Ok(());
        };
        if let Self::Embedded(_, cluster) = self {
            let cluster = cluster.as_ref().context("the embedded Kubernetes is not up")?;
            let mut loaded = 0;
            for archive in archives {
                loaded += u32::from(cluster.load_image(archive).await?);
            }
            step.outcome(format!(
                "{loaded} loaded, {} there before",
                archives.len() - loaded as usize
            ));
            return Ok(());
        }
        let name = match self {
            Self::Context(context) => context.strip_prefix(KIND_CONTEXT_PREFIX).unwrap_or(context),
            _ => KIND_CLUSTER,
        };
        for archive in archives {
            let mut kind = Command::new("kind");
            command::run(kind.args(["load", "image-archive", "--name", name]).arg(&archive.path)).await?;
        }
        Ok(())
    }

    /// `kubectl` for it.
    pub(crate) fn kubectl(&self, clients: &Binaries) -> Kubectl {
        match self {
            Self::Context(context) => Kubectl::context(context, clients),
            Self::Kind => Kubectl::context(&kind_context(), clients),
            Self::Embedded(instance, _) => Kubectl::embedded(instance, clients),
        }
    }

    /// `helm` for it.
    pub(crate) fn helm(&self, clients: &Binaries) -> Helm {
        match self {
            Self::Context(context) => Helm::context(context, clients),
            Self::Kind => Helm::context(&kind_context(), clients),
            Self::Embedded(instance, _) => Helm::embedded(instance, clients),
        }
    }

    /// Where its NodePorts answer, when they are known to answer on this machine.
    pub(crate) fn node_address(&self) -> Option<IpAddr> {
        match self {
            Self::Embedded(_, Some(cluster)) => Some(cluster.node_port(0).ip()),
            _ => None,
        }
    }

    /// Prints how a person gets at it.
    pub(crate) fn print_how_to_look(&self) {
        if let Self::Embedded(_, Some(cluster)) = self {
            let (kubeconfig, folder) = (cluster.kubeconfig(), cluster.binaries().folder().to_path_buf());
            println!("To look around:");
            println!(
                "  export KUBECONFIG={} PATH={}:$PATH",
                kubeconfig.display(),
                folder.display()
            );
            println!("  kubectl get pods --all-namespaces");
            println!("To take it away again: make down");
        }
    }

    /// Takes away what [`Self::start`] made, and everything on it.
    pub(crate) async fn remove(&self) -> Result<()> {
        match self {
            Self::Context(_) => Ok(()),
            Self::Kind => step("Kubernetes by kind", async |step| delete_kind(step).await).await,
            Self::Embedded(instance, _) => node::down(instance).await,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context(context) => write!(f, "the Kubernetes of context {context} ({ENV_KUBE_CONTEXT})"),
            Self::Kind => write!(f, "a Kubernetes made by kind, cluster {KIND_CLUSTER}"),
            Self::Embedded(instance, _) => {
                write!(
                    f,
                    "an embedded Kubernetes, instance {}: nothing of it leaves this machine",
                    instance.name()
                )
            }
        }
    }
}

/// The context that the user named.
fn given_context() -> Option<String> {
    std::env::var(ENV_KUBE_CONTEXT)
        .ok()
        .filter(|context| !context.is_empty())
}

/// Tells whether kind is installed and Docker answers.
async fn kind_is_usable() -> bool {
    // `docker info` ends with 0 on some versions when no daemon answers.
    let docker = command::run(Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"])).await;
    docker.is_ok_and(|version| !version.trim().is_empty())
        && command::run(Command::new("kind").arg("version")).await.is_ok()
}

async fn has_kind_cluster() -> Result<bool> {
    let listed = command::run(Command::new("kind").args(["get", "clusters"])).await?;
    Ok(listed.lines().any(|name| name == KIND_CLUSTER))
}

async fn create_kind(step: &Step) -> Result<()> {
    if has_kind_cluster().await? {
        step.outcome("runs already");
        return Ok(());
    }
    let config = repository_root().join("kind-config.yaml");
    if !config.exists() {
        bail!("{} is missing", config.display());
    }
    let mut kind = Command::new("kind");
    kind.args([
        "create",
        "cluster",
        "--name",
        KIND_CLUSTER,
        "--wait",
        "180s",
        "--config",
    ])
    .arg(config);
    command::run(&mut kind).await.map(drop)
}

async fn delete_kind(step: &Step) -> Result<()> {
    if !has_kind_cluster().await? {
        step.outcome("there was none");
        return Ok(());
    }
    command::run(Command::new("kind").args(["delete", "cluster", "--name", KIND_CLUSTER]))
        .await
        .map(drop)
}

fn kind_context() -> String {
    format!("{KIND_CONTEXT_PREFIX}{KIND_CLUSTER}")
}
