//! Log lines as JSON on standard output, at a level that can change while the process runs.

use anyhow::{Context, Result};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// Changes the level.
pub(crate) struct LogLevel(reload::Handle<Targets, Registry>);

impl LogLevel {
    /// Takes `level` from now on.
    ///
    /// # Errors
    /// When there is no such level.
    pub(crate) fn set(&self, level: &str) -> Result<()> {
        Ok(self.0.reload(targets(level)?)?)
    }
}

/// Starts logging.
///
/// # Errors
/// When there is no such level, or logging has been started before.
pub(crate) fn init(level: &str) -> Result<LogLevel> {
    let (filter, handle) = reload::Layer::new(targets(level)?);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_span_list(false))
        .try_init()?;
    Ok(LogLevel(handle))
}

/// The level for Freshet's own lines; libraries speak up only when something is wrong.
fn targets(level: &str) -> Result<Targets> {
    let level: LevelFilter = level.parse().with_context(|| format!("{level:?} is not a log level"))?;
    Ok(Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target("freshet", level))
}
