//! `xtask generate`: writes what is made from something else. `xtask verify` builds the same and compares.
//!
//! Every generated file is built in memory as a [`Generated`]; writing and comparing are two uses of the same list, so
//! that the two cannot disagree. Leaves out code that `build.rs` files make: there is none.

mod chart_readme;
mod crd;
mod dashboard;
mod field_reference;
mod goldens;
mod statements_page;
mod values;
mod values_schema;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result};

use crate::{
    paths,
    statements::Coverage,
    steps::{Interrupt, Invocation, output_of},
    verify::SourceTree,
};

pub(crate) use dashboard::DASHBOARD;
pub(crate) use goldens::{ChartCases, Helm, golden_path};

/// Compiles the operator when the cache is cold.
const BUILD_TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// A file that is made from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generated {
    /// Relative to the root of the repository.
    pub(crate) path: String,
    pub(crate) content: String,
}

/// Writes every generated file that is not as it would be generated now.
///
/// # Errors
/// When a source does not parse, a generator fails, or a file cannot be written.
pub(crate) async fn generate() -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    // They write their files themselves, and tests of their crates compare them.
    for example in ["generate-storage-api", "generate-load"] {
        output_of(&run_cargo(&["--example", example]), BUILD_TIMEOUT, &mut interrupt).await?;
    }
    let mut written = 0_usize;
    let tree = SourceTree::read(&mut interrupt).await?;
    for generated in build_sources(&tree, &mut interrupt).await? {
        written += usize::from(write_changed(&generated)?);
    }
    // Rendered with the chart's files as they are now, hence after them.
    for generated in goldens::build(&mut interrupt).await? {
        written += usize::from(write_changed(&generated)?);
    }
    println!("{written} files written");
    Ok(ExitCode::SUCCESS)
}

/// Builds all generated files but the rendered charts and the code of the two contracts.
///
/// # Errors
/// When a source does not parse or a generator fails.
pub(crate) async fn build_sources(tree: &SourceTree, interrupt: &mut Interrupt) -> Result<Vec<Generated>> {
    let mut all = Vec::new();
    let definition = print_definition(interrupt).await?;
    all.push(Generated {
        path: crd::DEFINITION.to_owned(),
        content: definition.clone(),
    });
    all.push(crd::build_chart_template(&definition));
    all.push(field_reference::build(&definition)?);
    let values = values::read(&paths::repository_root().join(values::PATH))?;
    all.push(values_schema::build(&values)?);
    all.push(chart_readme::build(&values));
    all.push(dashboard::build(&read(
        &paths::repository_root().join(dashboard::SOURCE),
    )?)?);
    for (path, args) in [
        ("docs/clients.md", &["--page"][..]),
        ("docs/differences.md", &["differences", "--page"][..]),
    ] {
        let conformance = run_cargo(&["--bin", "conformance", "--"]).args(args.iter().copied());
        all.push(Generated {
            path: path.to_owned(),
            content: output_of(&conformance, BUILD_TIMEOUT, interrupt).await?,
        });
    }
    all.push(statements_page::build(&Coverage::of(tree)));
    Ok(all)
}

/// The definition, as the operator prints it.
async fn print_definition(interrupt: &mut Interrupt) -> Result<String> {
    output_of(
        &run_cargo(&["--bin", "freshet-operator", "--", "crd"]),
        BUILD_TIMEOUT,
        interrupt,
    )
    .await
}

fn run_cargo(args: &[&str]) -> Invocation {
    Invocation::cargo()
        .args(["run", "--release", "--quiet"])
        .args(args.iter().copied())
        .dir(paths::repository_root())
}

/// Returns whether the file changed.
fn write_changed(generated: &Generated) -> Result<bool> {
    let path = paths::repository_root().join(&generated.path);
    if std::fs::read(&path).is_ok_and(|present| present == generated.content.as_bytes()) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    std::fs::write(&path, &generated.content).with_context(|| format!("writing {}", generated.path))?;
    println!("wrote {}", generated.path);
    Ok(true)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
