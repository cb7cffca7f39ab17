//! The command line of `freshet-proxy`. Each argument has an environment variable of its name.

use std::path::PathBuf;

use clap::Parser;

/// Default of `--health-port`.
pub const DEFAULT_HEALTH_PORT: u16 = 8080;
/// Default of `--metrics-port`.
pub const DEFAULT_METRICS_PORT: u16 = 9090;
/// Default of `--memory-budget-bytes`: half of an active proxy's default memory request.
pub const DEFAULT_MEMORY_BUDGET_BYTES: u64 = 256 << 20;

/// A proxy of a Freshet cluster: holds client connections and speaks MQTT.
#[derive(Debug, Clone, Parser)]
#[command(name = "freshet-proxy", version)]
pub struct Arguments {
    /// The file `proxy.json`; watched and taken up while the proxy runs.
    #[arg(long, env = "FRESHET_CONFIG", default_value = "/etc/freshet/proxy.json")]
    pub config: PathBuf,
    /// Threads that own connections.
    #[arg(long, env = "FRESHET_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// What the buffers of clients and storage may take together, in bytes.
    #[arg(long, env = "FRESHET_MEMORY_BUDGET_BYTES", default_value_t = DEFAULT_MEMORY_BUDGET_BYTES)]
    pub memory_budget_bytes: u64,
    /// Port of /livez and /readyz.
    #[arg(long, env = "FRESHET_HEALTH_PORT", default_value_t = DEFAULT_HEALTH_PORT)]
    pub health_port: u16,
    /// Port of /metrics and /loadz.
    #[arg(long, env = "FRESHET_METRICS_PORT", default_value_t = DEFAULT_METRICS_PORT)]
    pub metrics_port: u16,
    /// The file with the order to give clients away; watched. It is empty while there is none.
    #[arg(long, env = "FRESHET_MOVES")]
    pub moves: Option<PathBuf>,
    /// Name of the proxy, for storage and for clients that are told.
    #[arg(long, env = "POD_NAME", default_value = "freshet-proxy")]
    pub pod_name: String,
    /// Namespace of the pod, for the log.
    #[arg(long, env = "POD_NAMESPACE", default_value = "")]
    pub pod_namespace: String,
    /// UID of the pod, for the log.
    #[arg(long, env = "POD_UID", default_value = "")]
    pub pod_uid: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_bounds_the_workers() {
        Arguments::command().debug_assert();
        assert!(Arguments::try_parse_from(["freshet-proxy", "--workers", "65"]).is_err());
        let arguments = Arguments::try_parse_from(["freshet-proxy", "--workers", "64", "--config", "/c"]).unwrap();
        assert_eq!((arguments.workers, arguments.health_port), (64, DEFAULT_HEALTH_PORT));
    }
}
