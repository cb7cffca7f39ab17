//! The command line. Every flag can come from the environment as well; the chart uses the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub(crate) enum Command {
    /// Looks after MqttClusters until it is told to stop.
    Run,
    /// Prints the CustomResourceDefinition of MqttCluster.
    Crd,
    /// Prints the names of all fault points.
    FaultPoints,
    /// Replays a trace of load against the scaler, and against others.
    Backtest(BacktestArgs),
    /// Writes a trace of load, made from a seed, as CSV.
    Trace(TraceArgs),
}

/// How to replay a trace. See docs/scaling.md.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Options of backtest")]
pub(crate) struct BacktestArgs {
    /// CSV file with the columns time_s, connections, connects_per_s, publishes_in_per_s, deliveries_out_per_s and
    /// round_trip_p99_ms; an empty cell is a missing sample.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: PathBuf,
    /// Manifest of an MqttCluster, of which spec.proxy.warm and spec.proxy.scaling are read; the defaults without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// How long a proxy takes to start when none is warm.
    #[arg(long, value_name = "DURATION", default_value = "180s", value_parser = duration)]
    pub(crate) capacity_delay: Duration,
    /// How much of the trace is learned from and not scored.
    #[arg(long, value_name = "DURATION", default_value = "3d", value_parser = duration)]
    pub(crate) history: Duration,
    /// CSV file to write each policy's course to: time_s, policy, desired, serving, warm.
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    /// Form of the results.
    #[arg(long, value_enum, default_value_t = ResultFormat::Table)]
    pub(crate) format: ResultFormat,
}

/// Which trace to make.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Options of trace")]
pub(crate) struct TraceArgs {
    /// Kind of load.
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    pub(crate) kind: String,
    /// The same seed is the same trace.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Length in days.
    #[arg(long, value_name = "COUNT", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) days: u32,
    /// Time from row to row, at least 1s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) step: Duration,
}

/// Form of the results of a backtest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// A duration as in a manifest, or a whole number of days such as `3d`.
fn duration(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    if let Some(days) = days.filter(|days| *days <= 3660) {
        return Ok(Duration::from_secs(u64::from(days) * 86_400));
    }
    freshet_operator_core::units::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration such as 180s, 5m, 1h30m or 3d"))
}

fn kinds() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(freshet_scaling::trace::Kind::ALL.map(freshet_scaling::trace::Kind::name))
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
