//! `kubectl` and `helm`, told which cluster is meant.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::command;
use crate::node::binaries::{Binaries, Program};
use crate::node::instance::Instance;

/// Which cluster a program is to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Kubeconfig(PathBuf),
    Context(String),
}

/// `kubectl` for one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    target: Target,
}

/// `helm` for one cluster.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    target: Target,
}

impl Kubectl {
    /// For an embedded cluster.
    #[must_use]
    pub fn embedded(instance: &Instance, binaries: &Binaries) -> Self {
        Self {
            program: binaries.path(Program::Kubectl),
            target: Target::Kubeconfig(instance.kubeconfig()),
        }
    }

    /// For a context of the user's own kubeconfig.
    #[must_use]
    pub fn context(context: &str, binaries: &Binaries) -> Self {
        Self {
            program: binaries.path(Program::Kubectl),
            target: Target::Context(context.to_owned()),
        }
    }

    /// The command, ready for arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        match &self.target {
            Target::Kubeconfig(path) => command.arg("--kubeconfig").arg(path),
            Target::Context(context) => command.args(["--context", context]),
        };
        command
    }

    /// Runs it, and returns what it printed.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        command::run(self.command().args(arguments)).await
    }

    /// Applies objects on the server's side.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn apply(&self, objects: &[Value]) -> anyhow::Result<String> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.apply_text(&list.to_string(), None).await
    }

    /// Applies a manifest on the server's side, in a namespace unless the manifest names one.
    ///
    /// # Errors
    /// When the server refuses it: with the server's message.
    pub async fn apply_text(&self, manifest: &str, namespace: Option<&str>) -> anyhow::Result<String> {
        let mut kubectl = self.command();
        if let Some(namespace) = namespace {
            kubectl.args(["--namespace", namespace]);
        }
        kubectl.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        command::run_with_input(&mut kubectl, manifest.as_bytes()).await
    }

    /// Applies an object as a person does who types `kubectl apply`: kubectl itself merges it with what is there.
    ///
    /// What the server says of a list with one key twice differs between the two.
    ///
    /// # Errors
    /// When the server refuses it: with the server's message.
    pub async fn apply_as_a_person(&self, object: &Value) -> anyhow::Result<String> {
        let mut kubectl = self.command();
        kubectl.args(["apply", "-f", "-"]);
        command::run_with_input(&mut kubectl, object.to_string().as_bytes()).await
    }
}

impl Helm {
    /// For an embedded cluster.
    #[must_use]
    pub fn embedded(instance: &Instance, binaries: &Binaries) -> Self {
        Self {
            program: binaries.path(Program::Helm),
            target: Target::Kubeconfig(instance.kubeconfig()),
        }
    }

    /// For a context of the user's own kubeconfig.
    #[must_use]
    pub fn context(context: &str, binaries: &Binaries) -> Self {
        Self {
            program: binaries.path(Program::Helm),
            target: Target::Context(context.to_owned()),
        }
    }

    /// The command, ready for arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        match &self.target {
            Target::Kubeconfig(path) => command.arg("--kubeconfig").arg(path),
            Target::Context(context) => command.args(["--kube-context", context]),
        };
        command
    }

    /// Runs it, and returns what it printed.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        command::run(self.command().args(arguments)).await
    }
}
