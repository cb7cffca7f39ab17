//! Calls the Go and C compilers.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Program, REPORT_INTERVAL, sources};
use crate::command;
use crate::progress::Step;

/// Changes with what this module tells the compilers, and with it the name of the cache's folder.
pub(super) const RECIPE: &[u8] = b"1";
/// How many lines of a failed build its error repeats.
const KEPT_LINES: usize = 30;

/// Builds programs into a folder.
pub(super) async fn build(programs: &[Program], folder: &Path, step: &Step) -> anyhow::Result<()> {
    let temporary = folder.with_extension("building");
    let _ = std::fs::remove_dir_all(&temporary);
    std::fs::create_dir_all(&temporary).with_context(|| format!("cannot make {}", temporary.display()))?;
    let flags = link_flags(
        &module_version("k8s.io/kubernetes").await?,
        &module_version("helm.sh/helm/v3").await?,
    )?;
    for program in programs {
        let built = temporary.join(program.name());
        match program.package() {
            Some(package) => go_build(package, &flags, &built, step).await?,
            None => cc_build(&built).await?,
        }
        std::fs::rename(&built, folder.join(program.name()))
            .with_context(|| format!("cannot keep {}", built.display()))?;
        step.note(format!("{} is built", program.name()));
    }
    std::fs::remove_dir(&temporary).with_context(|| format!("cannot remove {}", temporary.display()))
}

async fn module_version(module: &str) -> anyhow::Result<String> {
    let mut list = Command::new("go");
    list.current_dir(sources())
        .args(["list", "-m", "-f", "{{.Version}}", module]);
    Ok(command::run(&mut list).await?.trim().to_owned())
}

/// What released programs have linked in: without it the server calls itself `v0.0.0-master`, and Helm takes every
/// cluster for version 1.20.
fn link_flags(kubernetes: &str, helm: &str) -> anyhow::Result<String> {
    let minor = kubernetes
        .split('.')
        .nth(1)
        .with_context(|| format!("no minor version in {kubernetes}"))?;
    let version = "k8s.io/component-base/version";
    let mut flags = format!(
        "-s -w -X {version}.gitVersion={kubernetes} -X {version}.gitMajor=1 -X {version}.gitMinor={minor} \
         -X {version}.gitTreeState=clean -X helm.sh/helm/v3/internal/version.version={helm}"
    );
    for package in ["helm.sh/helm/v3/pkg/lint/rules", "helm.sh/helm/v3/pkg/chartutil"] {
        flags += &format!(" -X {package}.k8sVersionMajor=1 -X {package}.k8sVersionMinor={minor}");
    }
    Ok(flags)
}

/// Builds one package, and says from time to time how many packages it has compiled.
async fn go_build(package: &str, flags: &str, built: &Path, step: &Step) -> anyhow::Result<()> {
    let mut go = Command::new("go");
    go.current_dir(sources()).env("CGO_ENABLED", "0").env("GOWORK", "off");
    go.args(["build", "-v", "-mod=readonly", "-ldflags", flags, "-o"])
        .arg(built)
        .arg(package);
    go.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = go.spawn().context("cannot start go")?;
    // One line for each package that is compiled or module that is loaded, and whatever goes wrong.
    let stderr = child.stderr.take().context("go has no standard error")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut kept = std::collections::VecDeque::with_capacity(KEPT_LINES);
    let (mut compiled, mut reported) = (0_u32, Instant::now());
    while let Some(line) = lines.next_line().await? {
        compiled += u32::from(!line.starts_with("go: "));
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            step.note(format!("{package}: {compiled} packages compiled"));
        }
    }
    let status = child.wait().await?;
    if !status.success() {
        bail!("go build {package}: {status}\n{}", Vec::from(kept).join("\n"));
    }
    Ok(())
}

/// Builds the pause program: static, because its image holds nothing else.
async fn cc_build(built: &Path) -> anyhow::Result<()> {
    let mut cc = Command::new("cc");
    cc.current_dir(sources())
        .args(["-static", "-Os", "-s", "-Wall", "-Werror", "-o"])
        .arg(built);
    command::run(cc.arg("pause/pause.c")).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_are_told_their_version() {
        let flags = link_flags("v1.35.4", "v3.20.2").unwrap();
        for expected in [
            "version.gitVersion=v1.35.4",
            "version.gitMinor=35",
            "chartutil.k8sVersionMinor=35",
        ] {
            assert!(flags.contains(expected), "{flags}");
        }
        assert!(link_flags("nonsense", "v3").is_err());
    }
}
