//! The checks that other programs make: rustfmt, clippy, rustdoc, cargo-deny, cargo-machete.

use std::time::Duration;

use anyhow::Result;

use super::Verdict;
use crate::{
    paths,
    steps::{Ending, Interrupt, Invocation, capture},
    tools,
};

const QUICK: Duration = Duration::from_secs(5 * 60);
/// Compiles every dependency when the cache is cold.
const COMPILES: Duration = Duration::from_secs(40 * 60);
/// Lines of a failing command's output that the report repeats.
const MAX_LINES: usize = 400;

/// `cargo fmt --check`.
pub(super) async fn check_format(interrupt: &mut Interrupt) -> Result<Verdict> {
    let format = cargo(["fmt", "--all", "--", "--check", "--files-with-diff"]);
    let captured = capture(&format, QUICK, interrupt).await?;
    if captured.ending == Ending::Passed {
        return Ok(Verdict::Clean("rustfmt".to_owned()));
    }
    let root = paths::repository_root();
    let mut files: Vec<String> = captured
        .stdout
        .lines()
        .map(|file| {
            file.strip_prefix(&*root.to_string_lossy())
                .unwrap_or(file)
                .trim_start_matches('/')
        })
        .map(|file| format!("{file}: not as `cargo fmt` writes it"))
        .collect();
    if files.is_empty() {
        files.push(captured.stderr.trim_end().to_owned());
    }
    Ok(Verdict::Findings(files))
}

/// Cargo.lock needs no change.
pub(super) async fn check_lock(interrupt: &mut Interrupt) -> Result<Verdict> {
    let metadata = cargo(["metadata", "--locked", "--format-version", "1"]);
    quiet_command(&metadata, QUICK, "Cargo.lock", interrupt).await
}

/// Lints of all crates and their tests, in the profile that everything else uses.
pub(super) async fn check_clippy(interrupt: &mut Interrupt) -> Result<Verdict> {
    let clippy = cargo([
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
        "--quiet",
    ])
    .args(["--", "-D", "warnings"]);
    quiet_command(&clippy, COMPILES, "all targets", interrupt).await
}

/// Documentation comments of all crates.
pub(super) async fn check_rustdoc(interrupt: &mut Interrupt) -> Result<Verdict> {
    let doc = cargo(["doc", "--release", "--locked", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    quiet_command(&doc, COMPILES, "links in comments", interrupt).await
}

/// What dependencies may be, as deny.toml says.
pub(super) async fn check_deny(interrupt: &mut Interrupt) -> Result<Verdict> {
    let program = tools::ensure(tools::DENY, interrupt).await?;
    let deny = Invocation::new(program)
        .args(["--locked", "--log-level", "error", "check", "--hide-inclusion-graph"])
        .args(["licenses", "bans", "sources"])
        .dir(paths::repository_root());
    quiet_command(&deny, QUICK, "licenses, bans, sources", interrupt).await
}

/// Known vulnerabilities, where their database can be fetched.
pub(super) async fn check_advisories(interrupt: &mut Interrupt) -> Result<Verdict> {
    let program = tools::ensure(tools::DENY, interrupt).await?;
    let fetch = Invocation::new(&program)
        .args(["fetch", "db"])
        .dir(paths::repository_root());
    // Out of reach is not a finding: the database is on another machine than the registry.
    if capture(&fetch, Duration::from_secs(60), interrupt).await?.ending != Ending::Passed {
        return Ok(Verdict::Skipped(
            "the advisory database cannot be fetched from here".to_owned(),
        ));
    }
    let deny = Invocation::new(program)
        .args([
            "--locked",
            "--log-level",
            "error",
            "check",
            "--disable-fetch",
            "advisories",
        ])
        .dir(paths::repository_root());
    quiet_command(&deny, QUICK, "advisories", interrupt).await
}

/// No manifest names what no source file uses.
pub(super) async fn check_machete(interrupt: &mut Interrupt) -> Result<Verdict> {
    let program = tools::ensure(tools::MACHETE, interrupt).await?;
    let machete = Invocation::new(program)
        .args(["--skip-target-dir"])
        .dir(paths::repository_root());
    let captured = capture(&machete, QUICK, interrupt).await?;
    if captured.ending == Ending::Passed {
        return Ok(Verdict::Clean("every dependency is used".to_owned()));
    }
    let used_by_none = captured
        .stdout
        .lines()
        .skip_while(|line| !line.contains("unused dependencies"))
        .take_while(|line| !line.starts_with("If you believe"));
    Ok(Verdict::Findings(tail(used_by_none, &captured.stderr)))
}

fn cargo<const N: usize>(args: [&str; N]) -> Invocation {
    Invocation::cargo().args(args).dir(paths::repository_root())
}

/// A command that has something to say only when there is something to mend.
async fn quiet_command(
    invocation: &Invocation,
    timeout: Duration,
    clean: &str,
    interrupt: &mut Interrupt,
) -> Result<Verdict> {
    let captured = capture(invocation, timeout, interrupt).await?;
    match captured.ending {
        Ending::Passed => Ok(Verdict::Clean(clean.to_owned())),
        ending => {
            let mut findings = tail(captured.stderr.lines(), "");
            findings.push(format!("`{invocation}`: {ending}"));
            Ok(Verdict::Findings(findings))
        }
    }
}

fn tail<'a>(lines: impl Iterator<Item = &'a str>, fallback: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        lines.push(fallback.trim_end().to_owned());
    }
    let surplus = lines.len().saturating_sub(MAX_LINES);
    lines.drain(..surplus);
    lines
}
