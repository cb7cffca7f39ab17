//! The command line. Every flag can come from the environment as well; the chart uses the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::fault::Fault;

/// Version of the operator, and tag of the images of clusters that name none.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Turns MqttCluster resources into proxies, storage and Services.
#[derive(Debug, Parser)]
#[command(name = "freshet-operator", version)]
pub(crate) struct Cli {
    /// What to do; `run` when nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Looks after MqttClusters until it is told to stop.
    Run,
    /// Prints the CustomResourceDefinition of MqttCluster.
    Crd,
    /// Prints the names of all fault points.
    FaultPoints,
}

/// How to run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of run")]
pub(crate) struct RunArgs {
    /// Kubeconfig file; without it the environment of a pod, or the usual places.
    #[arg(long, global = true, env = "FRESHET_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Namespaces whose MqttClusters are looked after, separated by commas; all without it.
    #[arg(
        long,
        global = true,
        env = "FRESHET_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    pub(crate) watch_namespaces: Vec<String>,
    /// Image of proxies for clusters that name none, in full: with tag or digest.
    #[arg(long, global = true, env = "FRESHET_PROXY_IMAGE", value_name = "IMAGE",
        default_value_t = format!("freshet/proxy:{VERSION}"))]
    pub(crate) proxy_image: String,
    /// Image of storage nodes for clusters that name none, in full: with tag or digest.
    #[arg(long, global = true, env = "FRESHET_STORAGE_IMAGE", value_name = "IMAGE",
        default_value_t = format!("freshet/storage:{VERSION}"))]
    pub(crate) storage_image: String,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(
        long,
        global = true,
        env = "FRESHET_HTTP_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) http_listen: SocketAddr,
    /// Name of the Lease by which one of several operators leads.
    #[arg(
        long,
        global = true,
        env = "FRESHET_LEASE_NAME",
        value_name = "NAME",
        default_value = "freshet-operator"
    )]
    pub(crate) lease_name: String,
    /// Namespace of the Lease; the pod's own without it, or `default` outside of Kubernetes.
    #[arg(long, global = true, env = "FRESHET_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// Name of this process in the Lease and in Events: the pod's name. Without it a name of its own.
    #[arg(long, global = true, env = "POD_NAME", value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// MqttClusters that are reconciled at the same time.
    #[arg(long, global = true, env = "FRESHET_CONCURRENCY", value_name = "COUNT", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
    /// Log filter: a level, or directives such as `info,kube=debug`.
    #[arg(
        long,
        global = true,
        env = "FRESHET_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub(crate) log: String,
    /// Form of log lines.
    #[arg(long, global = true, env = "FRESHET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Aborts the process at a write, for tests: `NAME:before` or `NAME:after`.
    #[arg(long, global = true, env = "FRESHET_FAULT_POINT", hide = true)]
    pub(crate) fault_point: Option<Fault>,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command_or_without_one() {
        for line in [
            &["freshet-operator", "--watch-namespaces", "a,b"][..],
            &["freshet-operator", "run", "--watch-namespaces", "a,b"],
            &["freshet-operator", "--watch-namespaces", "a,b", "run"],
        ] {
            let cli = Cli::try_parse_from(line).expect("a command line");
            assert_eq!(cli.run.watch_namespaces, ["a", "b"]);
            assert!(matches!(cli.command, None | Some(Command::Run)));
        }
    }
}
