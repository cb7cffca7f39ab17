//! `xtask kubectl`, `xtask helm`: the programs of the embedded Kubernetes, told where it is. `xtask kubeconfig` prints
//! the line that tells a shell.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use freshet_e2e::Cluster;

use crate::up::InstanceArgs;

/// Arguments of a program that is run for the user.
#[derive(Debug, clap::Args)]
pub(crate) struct ProgramArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Passed on as they are.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Becomes `kubectl`.
pub(crate) async fn kubectl(args: &ProgramArgs) -> Result<ExitCode> {
    let cluster = Cluster::open(&args.instance.instance()).await?;
    become_program(cluster.kubectl().command(), &args.arguments)
}

/// Becomes `helm`.
pub(crate) async fn helm(args: &ProgramArgs) -> Result<ExitCode> {
    let cluster = Cluster::open(&args.instance.instance()).await?;
    become_program(cluster.helm().command(), &args.arguments)
}

/// Prints what a shell is to be told: `eval "$(… kubeconfig)"`.
pub(crate) async fn kubeconfig(args: &InstanceArgs) -> Result<ExitCode> {
    let cluster = Cluster::open(&args.instance()).await?;
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("export PATH={}:$PATH", cluster.binaries().folder().display());
    Ok(ExitCode::SUCCESS)
}

fn become_program(command: tokio::process::Command, arguments: &[String]) -> Result<ExitCode> {
    let mut command = command.into_std();
    Err(anyhow!(command.args(arguments).exec()).context("cannot start it"))
}
