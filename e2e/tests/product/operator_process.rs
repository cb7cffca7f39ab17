//! The operator as a process of a case, beside a cluster whose own operator is away: so that it can be told where to die, or
//! be weighed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use freshet_e2e::product::{self, Images};
use freshet_e2e::{Cluster, command};
use tokio::process::{Child, Command};

/// An operator that looks after one namespace.
pub(crate) struct OperatorProcess {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    http_listen: String,
    watches: Option<String>,
    images: [(&'static str, String); 2],
}

impl OperatorProcess {
    pub(crate) async fn new(cluster: &Cluster, images: &Images, namespace: &str) -> Result<Self> {
        let values = images.chart_values();
        let image = |role: &str| {
            let tag = values.iter().find(|(name, _)| *name == format!("image.{role}.tag"));
            tag.map(|(_, tag)| format!("freshet/{role}:{tag}"))
                .with_context(|| format!("no tag of {role}"))
        };
        Ok(Self {
            program: product::program("freshet-operator").await?,
            kubeconfig: cluster.kubeconfig(),
            namespace: namespace.to_owned(),
            http_listen: "127.0.0.1:0".to_owned(),
            watches: Some(namespace.to_owned()),
            images: [
                ("FRESHET_PROXY_IMAGE", image("proxy")?),
                ("FRESHET_STORAGE_IMAGE", image("storage")?),
            ],
        })
    }

    /// Looks after all namespaces, as by default, and serves its metrics at an address.
    pub(crate) fn everywhere(self, http_listen: SocketAddr) -> Self {
        Self {
            http_listen: http_listen.to_string(),
            watches: None,
            ..self
        }
    }

    pub(crate) async fn fault_points(&self) -> Result<Vec<String>> {
        let said = command::run(Command::new(&self.program).arg("fault-points")).await?;
        let points: Vec<String> = said.lines().map(str::to_owned).collect();
        ensure!(points.len() >= 10, "only {points:?}");
        Ok(points)
    }

    /// Starts it; it ends with the returned handle.
    pub(crate) fn start(&self, fault: Option<&str>) -> Result<Child> {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.log", self.namespace));
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.program);
        command
            .arg("run")
            .env("FRESHET_KUBECONFIG", &self.kubeconfig)
            .env("FRESHET_LEASE_NAMESPACE", &self.namespace)
            .env("FRESHET_HTTP_LISTEN", &self.http_listen)
            // One name for all, so that the next need not wait until the lease of the last has run out.
            .env("POD_NAME", "operator")
            .envs(self.images.clone())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if let Some(namespace) = &self.watches {
            command.env("FRESHET_WATCH_NAMESPACES", namespace);
        }
        if let Some(fault) = fault {
            command.env("FRESHET_FAULT_POINT", fault);
        }
        command.spawn().context("cannot start the operator")
    }
}
