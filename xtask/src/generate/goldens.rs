//! What the chart renders to, checked in: a change of what users install shows in review.
//!
//! `charts/tests/CASE.values.yaml` renders to `charts/tests/CASE.golden.yaml`, and each file of `charts/tests/refused/`
//! holds values that the chart refuses, with the words of the refusal in its first line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use freshet_e2e::node::binaries::{self, Program};

use super::Generated;
use crate::{
    paths,
    steps::{Captured, Interrupt, Invocation, capture, output_of},
};

/// The chart.
const CHART: &str = "charts/freshet";
const TESTS: &str = "charts/tests";
const VALUES_ENDING: &str = ".values.yaml";
const REFUSED_MARK: &str = "# refused: ";
const HELM_TIMEOUT: Duration = Duration::from_secs(120);
/// What the chart is rendered for: any version that the chart accepts would do, as long as it is always the same.
const KUBE_VERSION: &str = "1.35.0";

/// The pinned Helm.
pub(crate) struct Helm {
    program: PathBuf,
}

impl Helm {
    /// Builds Helm when it is not in the cache.
    ///
    /// # Errors
    /// When Go is missing or the build fails.
    pub(crate) async fn ensure() -> Result<Self> {
        let binaries =
            freshet_e2e::progress::step("Helm", async |step| binaries::ensure(&[Program::Helm], step).await).await?;
        Ok(Self {
            program: binaries.path(Program::Helm),
        })
    }

    /// `helm lint --strict` with the values of a case.
    ///
    /// # Errors
    /// When Helm cannot be run.
    pub(crate) async fn lint(&self, values: &str, interrupt: &mut Interrupt) -> Result<Captured> {
        let lint = self.invocation(["lint", "--strict", CHART, "--values", values]);
        capture(&lint, HELM_TIMEOUT, interrupt).await
    }

    /// `helm template` with the values of a case.
    ///
    /// # Errors
    /// When Helm cannot be run.
    pub(crate) async fn template(&self, values: &str, interrupt: &mut Interrupt) -> Result<Captured> {
        capture(&self.template_invocation(values), HELM_TIMEOUT, interrupt).await
    }

    /// What the chart renders to.
    ///
    /// # Errors
    /// When it renders to nothing; carries what Helm said.
    pub(crate) async fn render(&self, values: &str, interrupt: &mut Interrupt) -> Result<String> {
        output_of(&self.template_invocation(values), HELM_TIMEOUT, interrupt).await
    }

    /// What one template renders to when this value is true.
    ///
    /// # Errors
    /// When it renders to nothing; carries what Helm said.
    pub(crate) async fn render_one(&self, template: &str, value: &str, interrupt: &mut Interrupt) -> Result<String> {
        let render = self
            .invocation(["template", "freshet", CHART, "--kube-version", KUBE_VERSION])
            .args(["--show-only", template])
            .args(["--set".to_owned(), format!("{value}=true")]);
        output_of(&render, HELM_TIMEOUT, interrupt).await
    }

    fn template_invocation(&self, values: &str) -> Invocation {
        self.invocation(["template", "freshet", CHART, "--namespace", "freshet-system"])
            .args(["--kube-version", KUBE_VERSION, "--values", values])
    }

    fn invocation<const N: usize>(&self, args: [&str; N]) -> Invocation {
        Invocation::new(&self.program).args(args).dir(paths::repository_root())
    }
}

/// Values that the chart refuses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Path of the values, relative to the root.
    pub(crate) values: String,
    /// Words of the refusal.
    pub(crate) words: String,
}

/// The cases in the repository, in order of their names.
pub(crate) struct ChartCases {
    /// Paths of values, relative to the root, each with its golden file beside it.
    pub(crate) rendered: Vec<String>,
    pub(crate) refused: Vec<Refusal>,
}

impl ChartCases {
    /// Finds the cases.
    ///
    /// # Errors
    /// When there are none, or one is malformed.
    pub(crate) fn read() -> Result<Self> {
        let rendered: Vec<String> = list(TESTS)?
            .into_iter()
            .filter(|path| path.ends_with(VALUES_ENDING))
            .collect();
        let mut refused = Vec::new();
        for values in list(&format!("{TESTS}/refused"))? {
            let text = super::read(&paths::repository_root().join(&values))?;
            let words = parse_refusal(&text)
                .with_context(|| format!("{values}: the first line is not `{REFUSED_MARK}WORDS`"))?
                .to_owned();
            refused.push(Refusal { values, words });
        }
        anyhow::ensure!(
            !rendered.is_empty() && !refused.is_empty(),
            "there are no cases in {TESTS}"
        );
        Ok(Self { rendered, refused })
    }
}

fn parse_refusal(text: &str) -> Option<&str> {
    text.lines()
        .next()?
        .strip_prefix(REFUSED_MARK)
        .filter(|words| !words.trim().is_empty())
}

fn list(folder: &str) -> Result<Vec<String>> {
    let root = paths::repository_root();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("reading {folder}"))? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(format!("{folder}/{}", file_name(&path)));
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The path of what these values render to.
pub(crate) fn golden_path(values: &str) -> String {
    format!("{}.golden.yaml", values.trim_end_matches(VALUES_ENDING))
}

/// Renders all cases.
///
/// # Errors
/// When the chart does not render.
pub(crate) async fn build(interrupt: &mut Interrupt) -> Result<Vec<Generated>> {
    let helm = Helm::ensure().await?;
    let mut all = Vec::new();
    for values in ChartCases::read()?.rendered {
        all.push(Generated {
            path: golden_path(&values),
            content: helm.render(&values, interrupt).await?,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_file_stands_beside_its_values() {
        assert_eq!(
            golden_path("charts/tests/default.values.yaml"),
            "charts/tests/default.golden.yaml"
        );
    }

    #[test]
    fn a_refusal_says_with_which_words() {
        assert_eq!(parse_refusal("# refused: got string\na: b\n"), Some("got string"));
        assert_eq!(parse_refusal("a: b\n"), None);
        assert_eq!(parse_refusal("# refused: \n"), None);
    }

    #[test]
    fn the_cases_of_the_repository_are_well_formed() {
        let cases = ChartCases::read().unwrap();
        assert!(cases.rendered.iter().any(|path| path.ends_with("/default.values.yaml")));
    }
}
