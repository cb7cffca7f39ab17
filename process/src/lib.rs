//! What the processes of a cluster have in common, whatever they do: a configuration file that changes while they run,
//! probes and metrics over HTTP, a log whose level can change.
//!
//! Called by the binaries of proxy and storage and by `freshet standalone`. Leaves out what the file says
//! (`freshet_config`), when a process is well, and which metrics it has.

mod admin;
mod config_file;
mod logging;
#[cfg(feature = "planted-faults")]
mod planted;

pub use admin::{Probes, Scrape, health_routes, listen, metrics_routes, serve_admin};
pub use config_file::{ConfigReloads, read_config, watch_config};
pub use logging::{LogFormat, LogLevel, start_logging};
#[cfg(feature = "planted-faults")]
pub use planted::{Plant, plant};
