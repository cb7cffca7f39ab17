//! The process's log, with a level that can change while it runs.

use anyhow::Context as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// Changes the level of the log.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<Targets, Registry>);

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
/// When there is no such level, or the process logs already.
pub fn start_logging(format: LogFormat, level: &str) -> anyhow::Result<LogLevel> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
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
    /// Changes the level from here on. One that does not exist is told, and the former one stays.
    pub fn set(&self, level: &str) {
        match filter(level) {
            // Fails only when the log is gone, and then there is nowhere to say so.
            Ok(filter) => drop(self.0.reload(filter)),
            Err(error) => tracing::warn!(%error, "the log level stays"),
        }
    }
}

/// The level for this system's own lines. Libraries speak up only when something is wrong, at any level: what they
/// trace may hold payloads.
fn filter(level: &str) -> anyhow::Result<Targets> {
    let level: LevelFilter = level.parse().with_context(|| format!("{level:?} is not a log level"))?;
    Ok(Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("freshet", level))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_heard_when_something_is_wrong_and_never_louder_than_asked_for() {
        let debug = filter("debug").unwrap();
        assert!(debug.would_enable("freshet_proxy_core::worker", &Level::DEBUG));
        assert!(!debug.would_enable("freshet_proxy", &Level::TRACE));
        assert!(debug.would_enable("h2::client", &Level::WARN) && !debug.would_enable("h2::client", &Level::INFO));
        let error = filter("error").unwrap();
        assert!(!error.would_enable("h2::client", &Level::WARN) && !error.would_enable("freshet", &Level::WARN));
        assert!(filter("loud").unwrap_err().to_string().contains("loud"));
    }
}
