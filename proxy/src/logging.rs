//! The process's log: JSON lines on standard output, with a level that can change while it runs.

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Changes the level of the log.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object per line on standard output, for collectors.
    Json,
    /// Text on standard error, for people.
    Text,
}

/// Starts logging at `level` (`error | warn | info | debug | trace`). To be called once, first of all.
///
/// # Errors
/// When the process logs already.
pub fn start_logging(format: LogFormat, level: &str) -> anyhow::Result<LogLevel> {
    let (filter, handle) = reload::Layer::new(filter(level));
    let (json, text) = match format {
        LogFormat::Json => (Some(fmt::layer().json().flatten_event(true)), None),
        LogFormat::Text => (None, Some(fmt::layer().with_writer(std::io::stderr).with_target(false))),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(json)
        .with(text)
        .try_init()
        .context("the log has been started twice")?;
    Ok(LogLevel(handle))
}

impl LogLevel {
    /// Changes the level from here on.
    pub fn set(&self, level: &str) {
        // Fails only when the log is gone, and then there is nowhere to say so.
        let _ = self.0.reload(filter(level));
    }
}

/// The level for this system's own code; libraries speak up from `warn` on, and below it only when it is `trace`.
fn filter(level: &str) -> EnvFilter {
    let level = match level {
        "error" | "warn" | "debug" | "trace" => level,
        // The resource's own check lets nothing else through.
        _ => "info",
    };
    match level {
        "error" | "trace" => EnvFilter::new(level),
        level => EnvFilter::new(format!(
            "warn,freshet={level},freshet_proxy={level},freshet_proxy_core={level},freshet_storage_api={level},\
             freshet_storage_core={level},freshet_storage_node={level}"
        )),
    }
}
