//! What both commands may be told of scripts: which of them, in which version, or only their page of the documentation.

use anyhow::ensure;

use crate::message::Version;

/// Which scripts.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Only these scripts.
    #[arg(long)]
    script: Vec<String>,
    /// Only this version.
    #[arg(long, value_enum)]
    mqtt: Option<Version>,
    /// Prints the page of the documentation that is made of the scripts, and runs nothing.
    #[arg(long)]
    pub(crate) page: bool,
}

impl Choice {
    /// Whether a script was chosen.
    pub(crate) fn has(&self, script: &str) -> bool {
        self.script.is_empty() || self.script.iter().any(|name| name == script)
    }

    /// The versions that were chosen.
    pub(crate) fn versions(&self) -> impl Iterator<Item = Version> {
        Version::ALL
            .into_iter()
            .filter(|version| self.mqtt.is_none_or(|only| only == *version))
    }

    /// Looks whether all scripts that were named exist.
    ///
    /// # Errors
    /// When one does not.
    pub(crate) fn require_known(&self, is_known: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        for name in &self.script {
            ensure!(is_known(name), "there is no script {name:?}");
        }
        Ok(())
    }
}
