//! A node's containerd: its configuration, and the images and tasks that it is asked about.
//!
//! Written for containerd 1.6 of Debian 12. Everything lies below the node's state, except what
//! [`super::mounts`] puts there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::process::Command;

use super::addresses::Addresses;
use super::instance::{Instance, node_name, write_atomically};
use super::packages::{CNI_PLUGINS, find_program};
use super::process::Server;
use crate::command;
use crate::condition::{Observed, await_condition};

/// The image whose program holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/freshet/pause:1";
/// The namespace of containerd that Kubernetes uses.
const KUBERNETES_NAMESPACE: &str = "k8s.io";
/// How long containerd may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long containerd may take for one question when it is about to be ended.
const CTR_DEADLINE: Duration = Duration::from_secs(10);

/// The containerd of one node.
#[derive(Debug, Clone)]
pub struct Containerd {
    node: PathBuf,
}

impl Containerd {
    /// Returns the containerd of a node, whether or not it runs.
    #[must_use]
    pub fn of_node(instance: &Instance, number: u8) -> Self {
        Self {
            node: instance.node_state(number),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.node.join("containerd.sock")
    }

    /// Writes its configuration, and returns it as a server.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn server(
        &self,
        instance: &Instance,
        number: u8,
        addresses: Addresses,
        mount_namespace: &Path,
    ) -> anyhow::Result<Server> {
        let node = self.node.display();
        let cni = self.node.join("cni");
        std::fs::create_dir_all(&cni).with_context(|| format!("cannot make {}", cni.display()))?;
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": addresses.pods_of_node(number)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        write_atomically(&cni.join("10-pods.conflist"), &serde_json::to_vec_pretty(&network)?)?;
        let config = self.node.join("containerd.toml");
        // AppArmor off: its profile would be loaded into the machine's kernel and stay there.
        let text = format!(
            r#"version = 2
root = "{node}/containerd/root"
state = "{node}/containerd/state"

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{node}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"#,
            socket = self.socket().display(),
            cni = cni.display(),
        );
        write_atomically(&config, text.as_bytes())?;
        Ok(Server {
            name: format!("containerd-{}", node_name(number)),
            program: find_program("containerd")?,
            arguments: vec!["--config".into(), config.display().to_string()],
            config_files: vec![config],
            network_namespace: instance.node_namespace(number),
            mount_namespace: Some(mount_namespace.to_path_buf()),
        })
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it has ended, or takes too long.
    pub async fn await_ready(&self, instance: &Instance, server: &Server) -> anyhow::Result<()> {
        let ready = await_condition("containerd answers", START_DEADLINE, async || {
            // A server that has ended will not come: the error is the value, so that nobody waits for it.
            if let Err(ended) = server.require_running(instance) {
                return Ok(Observed::Met(Err(ended)));
            }
            self.ctr(&["version"]).await?;
            Ok(Observed::Met(Ok(())))
        });
        ready.await?
    }

    /// Imports an image archive unless an image of that name has that digest.
    ///
    /// Returns whether it was imported now.
    ///
    /// # Errors
    /// When containerd refuses.
    pub async fn import(&self, archive: &crate::oci::Archive) -> anyhow::Result<bool> {
        let listed = self.ctr(&["images", "list"]).await?;
        if archive
            .names
            .iter()
            .all(|name| has_image(&listed, name, &archive.digest))
        {
            return Ok(false);
        }
        let path = archive.path.display().to_string();
        self.ctr(&["images", "import", "--no-unpack=false", &path]).await?;
        Ok(true)
    }

    /// The tasks, which are the containers' first processes.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn tasks(&self) -> anyhow::Result<Vec<Task>> {
        Ok(parse_tasks(&self.ctr(&["tasks", "list"]).await?))
    }

    /// Ends all containers, so that nothing of them outlives containerd. Does what it can when containerd is gone.
    pub async fn end_tasks(&self) {
        let ended = async {
            for task in self.tasks().await? {
                // `delete --force` kills and lets the shim clean up behind it.
                self.ctr(&["tasks", "delete", "--force", &task.container]).await?;
            }
            anyhow::Ok(())
        };
        let _ = tokio::time::timeout(CTR_DEADLINE, ended).await;
    }

    async fn ctr(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut ctr = Command::new(find_program("ctr")?);
        ctr.arg("--address")
            .arg(self.socket())
            .args(["--namespace", KUBERNETES_NAMESPACE])
            .args(arguments);
        command::run(&mut ctr).await
    }
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The container's id.
    pub container: String,
    /// The id of its first process, as the machine sees it.
    pub pid: u32,
}

/// Reads `ctr tasks list`: `TASK PID STATUS`.
fn parse_tasks(listed: &str) -> Vec<Task> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        Some(Task {
            container: fields.next()?.to_owned(),
            pid: fields.next()?.parse().ok()?,
        })
    };
    listed.lines().skip(1).filter_map(parse).collect()
}

/// Looks for a name with a digest in `ctr images list`: `REF TYPE DIGEST …`.
fn has_image(listed: &str, name: &str, digest: &str) -> bool {
    listed.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(name) && fields.nth(1) == Some(digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read_and_the_headline_is_not() {
        let listed = "TASK                PID       STATUS\nabc                 4321      RUNNING\n";
        assert_eq!(
            parse_tasks(listed),
            [Task {
                container: "abc".into(),
                pid: 4321
            }]
        );
    }

    #[test]
    fn an_image_of_the_same_name_and_another_digest_is_not_the_same() {
        let listed =
            "REF TYPE DIGEST SIZE\ndocker.io/freshet/proxy:0.1.0 application/x sha256:aa 1 MiB linux/amd64 -\n";
        assert!(has_image(listed, "docker.io/freshet/proxy:0.1.0", "sha256:aa"));
        assert!(!has_image(listed, "docker.io/freshet/proxy:0.1.0", "sha256:bb"));
        assert!(!has_image(listed, "docker.io/freshet/proxy", "sha256:aa"));
    }
}
