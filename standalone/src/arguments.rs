//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Freshet, an MQTT system for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "freshet", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the whole broker in this process. Everything is kept in memory.
    Standalone(Standalone),
}

/// How the broker runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Standalone {
    /// Where to listen. Default 127.0.0.1:1883, or the listeners of --config on 127.0.0.1.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// An MqttCluster manifest (YAML or JSON): its listeners, limits and MQTT settings are taken; what says how pods are
    /// made is not.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the manifest's Secrets are found: `DIR/SECRET/KEY`.
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// Refused until durability is built: everything is kept in memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Threads that own connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// Where to serve /metrics, /livez and /readyz. Default: nowhere.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
