//! The handle on a running embedded cluster, with which tests and `xtask` work.
//!
//! The API server, NodePorts, pods and Services answer on this machine at the addresses that the handle gives.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kubectl::{Helm, Kubectl};
use crate::node::addresses::Addresses;
use crate::node::binaries::Binaries;
use crate::node::cgroup;
use crate::node::containerd::Containerd;
use crate::node::instance::{Instance, Record, node_name};
use crate::node::process::{self, Frozen, Started};
use crate::node::{UpOptions, up};
use crate::oci::Archive;

/// Names the instance on which tests run.
pub const ENV_INSTANCE: &str = "FRESHET_E2E_INSTANCE";
/// The instance on which tests run when nobody says otherwise; not the one of `make up`.
pub const TEST_INSTANCE: &str = "test";
/// How long one plain HTTP request may take.
const HTTP_DEADLINE: Duration = Duration::from_secs(5);
/// Longest answer to a plain HTTP request.
const MAX_HTTP_BYTES: u64 = 16 << 20;

/// A running embedded cluster.
#[derive(Clone)]
pub struct Cluster {
    instance: Instance,
    record: Record,
    client: Client,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its number, from 1.
    pub number: u8,
    /// Its name in Kubernetes.
    pub name: String,
    /// Where its NodePorts answer.
    pub address: IpAddr,
}

/// The answer to a plain HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

impl Cluster {
    /// Opens an instance that was brought up.
    ///
    /// # Errors
    /// When it was not, or its kubeconfig cannot be read.
    pub async fn open(instance: &Instance) -> anyhow::Result<Self> {
        let Some(record) = instance.record() else {
            bail!("there is no embedded Kubernetes \"{}\" (make up)", instance.name());
        };
        let client = client_of(&instance.kubeconfig()).await?;
        Ok(Self {
            instance: instance.clone(),
            record,
            client,
        })
    }

    /// Returns the cluster of the tests, after starting what is missing: `$FRESHET_E2E_INSTANCE` or `test`.
    ///
    /// It stays up for the next test; `xtask down --instance test` takes it away.
    ///
    /// # Errors
    /// As [`up()`].
    pub async fn for_tests(options: UpOptions) -> anyhow::Result<Self> {
        let name = std::env::var(ENV_INSTANCE).unwrap_or_else(|_| TEST_INSTANCE.to_owned());
        up(&Instance::named(name.parse()?), options).await
    }

    /// Which instance it is.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The kubeconfig of that client.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.instance.kubeconfig()
    }

    /// The programs that it was started from.
    #[must_use]
    pub fn binaries(&self) -> Binaries {
        Binaries::in_folder(self.record.binaries.clone())
    }

    /// Its `kubectl`.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::embedded(&self.instance, &self.binaries())
    }

    /// Its `helm`.
    #[must_use]
    pub fn helm(&self) -> Helm {
        Helm::embedded(&self.instance, &self.binaries())
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let addresses = Addresses::of_slot(self.record.slot);
        let info = |number| NodeInfo {
            number,
            name: node_name(number),
            address: addresses.node(number).into(),
        };
        (1..=self.record.nodes).map(info).collect()
    }

    /// Where a NodePort answers on the first node.
    #[must_use]
    pub fn node_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(Addresses::of_slot(self.record.slot).node(1).into(), port)
    }

    /// The containerd of a node.
    #[must_use]
    pub fn containerd(&self, number: u8) -> Containerd {
        Containerd::of_node(&self.instance, number)
    }

    /// Imports an image into every node that does not have it. Returns whether any needed it.
    ///
    /// # Errors
    /// When containerd refuses.
    pub async fn load_image(&self, archive: &Archive) -> anyhow::Result<bool> {
        let mut imported = false;
        for node in self.nodes() {
            let loaded = self.containerd(node.number).import(archive).await;
            imported |= loaded.with_context(|| format!("cannot load {} into {}", archive.path.display(), node.name))?;
        }
        Ok(imported)
    }

    /// Ends one of the servers at once, as `kill -9` would: `kubelet-node2`, `kube-apiserver`. The next [`up()`] starts
    /// it again.
    ///
    /// # Errors
    /// When there is no such server, or it stays.
    pub async fn kill_server(&self, name: &str) -> anyhow::Result<()> {
        self.started(name)?.kill(name).await
    }

    /// Ends everything that runs on a node at once, as if its machine had been reset: kubelet, containerd, all containers.
    /// Its network and its disk stay as they are; the next [`up()`] starts it again.
    ///
    /// # Errors
    /// When a process stays.
    pub async fn kill_node(&self, number: u8) -> anyhow::Result<()> {
        let name = node_name(number);
        // Whatever would start containers again goes before the containers.
        self.kill_server(&format!("kubelet-{name}")).await?;
        self.kill_server(&format!("containerd-{name}")).await?;
        for pid in cgroup::processes(&self.instance.node_cgroup(number))? {
            process::kill(pid).await?;
        }
        Ok(())
    }

    /// Stops one of the servers where it is, until what is returned is dropped: a kubelet that says nothing any more.
    ///
    /// # Errors
    /// When there is no such server, or it does not run.
    pub fn freeze_server(&self, name: &str) -> anyhow::Result<Frozen> {
        self.started(name)?.freeze()
    }

    fn started(&self, name: &str) -> anyhow::Result<Started> {
        let mut servers = process::started(&self.instance);
        let Some(index) = servers.iter().position(|(known, _)| known == name) else {
            let known: Vec<&str> = servers.iter().map(|(name, _)| name.as_str()).collect();
            bail!("no server {name}; there are {}", known.join(", "));
        };
        Ok(servers.swap_remove(index).1)
    }
}

/// A client of the cluster that a kubeconfig names.
///
/// # Errors
/// When the file cannot be read or says nothing usable.
pub async fn client_of(kubeconfig: &Path) -> anyhow::Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Asks the API server for a path that answers with text, such as `/readyz`.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn get_text(client: &Client, path: &str) -> anyhow::Result<String> {
    Ok(client.request_text(http::Request::get(path).body(Vec::new())?).await?)
}

/// Asks a plain HTTP server, such as a pod's `/metrics` or `/readyz`.
///
/// # Errors
/// When it cannot be reached or answers something else than HTTP.
pub async fn http_get(address: SocketAddr, path: &str) -> anyhow::Result<HttpAnswer> {
    let context = || format!("GET http://{address}{path}");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_HTTP_BYTES).read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(HTTP_DEADLINE, exchange)
        .await
        .with_context(context)?
        .with_context(context)?;
    parse_answer(&String::from_utf8_lossy(&answer)).with_context(context)
}

/// Reads an answer of HTTP/1.0, whose body ends with the connection.
fn parse_answer(text: &str) -> anyhow::Result<HttpAnswer> {
    let (head, body) = text.split_once("\r\n\r\n").context("no end of the headers")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("no status")?;
    Ok(HttpAnswer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = parse_answer("HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nno\r\n\r\nstorage").unwrap();
        assert_eq!(
            answer,
            HttpAnswer {
                status: 503,
                body: "no\r\n\r\nstorage".into()
            }
        );
        assert!(parse_answer("SSH-2.0").is_err());
    }
}
