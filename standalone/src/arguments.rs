//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use freshet_storage_core::{DEFAULT_QUEUED_RESIDENT_BYTES, DEFAULT_SESSION_BYTES};

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
    /// Runs the whole broker in this process. Without --data-dir everything is kept in memory.
    Standalone(Standalone),
    /// Looks at a running storage node, or at `freshet standalone`: shards, sessions, queues, the log. Changes nothing.
    Admin(Admin),
}

/// Where to look, and how to show it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Admin {
    /// The admin port: of a storage pod by `kubectl port-forward pod/NAME-storage-0 9091`, of `freshet standalone` what its
    /// --admin says.
    #[arg(
        long,
        env = "FRESHET_ADMIN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9091",
        global = true
    )]
    pub(crate) url: String,
    /// Tables for people, or JSON for machines.
    #[arg(long, short, value_enum, default_value_t = Output::Table, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) look: Look,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}

/// What is looked at.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Look {
    /// All shards, and the proxies that are attached.
    Shards,
    /// Sessions that outlive their connection, in order of client ids.
    Sessions {
        /// Only client ids that begin like this.
        #[arg(long, value_name = "P", default_value = "")]
        prefix: String,
        /// Only client ids behind this one.
        #[arg(long, value_name = "CLIENT_ID")]
        after: Option<String>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
        limit: usize,
    },
    /// One session: connection, subscriptions, cursors, what is queued and in flight, will.
    Session {
        /// Client Identifier.
        client_id: String,
    },
    /// The queues of a topic filter: how much, how old, and for whom.
    Queue {
        /// Topic Filter as clients name it; `$share/GROUP/FILTER` for a shared subscription.
        filter: String,
    },
    /// The commit log, its marks, and the checkpoints.
    Log,
}

/// Sessions that are listed: more than a terminal or a script makes use of is a mistake.
fn limit(text: &str) -> Result<usize, String> {
    let limit: usize = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (1..=1_000_000).contains(&limit) {
        Ok(limit)
    } else {
        Err("must be between 1 and 1000000".to_owned())
    }
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
    /// The folder that keeps sessions, retained messages and what is queued, through kill -9 and power cuts: what is
    /// acknowledged is on the disk. Without it everything ends with the process.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Seconds between checkpoints of the state in --data-dir; they bound what a start applies again.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) checkpoint_seconds: u32,
    /// Bytes of messages that may be queued for sessions and shared subscriptions; beyond them publications that would add
    /// to it are held. [default: 512 MiB, or 40 % of the file system of --data-dir where that is more]
    #[arg(long, value_name = "BYTES")]
    pub(crate) queued_bytes: Option<u64>,
    /// Bytes of queued messages in memory, beyond which those that a checkpoint has are on disk alone. Without --data-dir it
    /// says nothing.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_QUEUED_RESIDENT_BYTES)]
    pub(crate) queued_memory_bytes: u64,
    /// Bytes of client ids, wills and stored sessions; beyond them clients and subscriptions of stored sessions are refused.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SESSION_BYTES)]
    pub(crate) session_bytes: u64,
    /// Threads that own connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// Where to serve /metrics, /livez and /readyz. Default: nowhere.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Where `freshet admin` looks at sessions, queues and the log. Whoever reaches it sees client ids and topics. Default:
    /// nowhere.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<SocketAddr>,
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
