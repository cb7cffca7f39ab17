//! The brokers of others: Debian's Mosquitto, and Go programs around pinned libraries; installed, built and started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use freshet_e2e::command;
use freshet_e2e::node::binaries::cache_folder;
use freshet_e2e::node::packages::{self, Group};
use freshet_e2e::progress::{Step, step};

use crate::processes::{Launch, Role, Running, Scratch, free_port, write};

/// What has to be there before a broker can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Debian's package.
    Mosquitto,
    /// The programs in `go/`.
    Go,
}

/// Makes sure that brokers can be started.
///
/// # Errors
/// When a package cannot be installed, there is no Go, or a program cannot be built.
pub(crate) fn prepare(needs: &[Need]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if needs.contains(&Need::Mosquitto) {
            step("mosquitto", async |step: &Step| {
                packages::ensure(&[Group::Brokers], step).await
            })
            .await?;
        }
        if needs.contains(&Need::Go) {
            step("nats-server and Mochi", async |step: &Step| build_go(step).await).await?;
        }
        Ok(())
    })
}

/// Starts Mosquitto with `mosquitto.conf` and these lines behind it; `FOLDER` in them is its folder.
///
/// # Errors
/// When it is not installed or does not come up.
pub(crate) fn start_mosquitto(base: &Path, lines: &str) -> anyhow::Result<Running> {
    let scratch = Scratch::new(base)?;
    // It cannot choose a port.
    let address = free_port()?;
    let common = std::fs::read_to_string(configuration("mosquitto.conf"))?;
    let lines = lines.replace("FOLDER", &scratch.path("").to_string_lossy());
    let file = scratch.path("mosquitto.conf");
    let (port, ip) = (address.port(), address.ip());
    write(&file, &format!("listener {port} {ip}\n{common}{lines}"))?;
    let launch = Launch {
        role: Role::Clients,
        program: mosquitto_program()?,
        arguments: vec!["-c".to_owned(), file.to_string_lossy().into_owned()],
        address: Some(address),
        log: Some(scratch.path("log")),
    };
    Running::start(vec![launch], None, Some(scratch))
}

/// Starts a Go program. One that keeps something on a disk gets a folder for it.
///
/// # Errors
/// When it is not built or does not come up.
pub(crate) fn start_go(name: &str, base: &Path, flags: &[&str]) -> anyhow::Result<Running> {
    let scratch = Scratch::new(base)?;
    let folder = scratch.path("data").to_string_lossy().into_owned();
    let launch = Launch {
        role: Role::Clients,
        program: go_folder()?.join(name),
        arguments: flags.iter().map(|flag| flag.replace("FOLDER", &folder)).collect(),
        address: None,
        log: Some(scratch.path("log")),
    };
    Running::start(vec![launch], None, Some(scratch))
}

/// What Mosquitto says of itself.
///
/// # Errors
/// When it is not installed.
pub(crate) fn mosquitto_version() -> anyhow::Result<String> {
    let output = Command::new(mosquitto_program()?).arg("-h").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Name and version of a Go library.
///
/// # Errors
/// When there is no such one.
pub(crate) fn pinned(module: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(configuration("go/go.mod"))?;
    let line = text.lines().map(str::trim).find(|line| line.starts_with(module));
    line.map(str::to_owned)
        .with_context(|| format!("no {module} in go.mod"))
}

/// Where Go programs are once they are built.
fn go_folder() -> anyhow::Result<PathBuf> {
    Ok(cache_folder()?.join("bench"))
}

async fn build_go(step: &Step) -> anyhow::Result<()> {
    let target = go_folder()?;
    std::fs::create_dir_all(&target)?;
    // Go itself knows what has changed.
    let mut go = tokio::process::Command::new("go");
    go.env("CGO_ENABLED", "0");
    go.current_dir(configuration("go"));
    go.args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(target.join(""))
        .arg("./...");
    command::run(&mut go).await?;
    step.outcome(format!("built: {}", target.display()));
    Ok(())
}

fn mosquitto_program() -> anyhow::Result<PathBuf> {
    let places = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
    let found = places.iter().map(PathBuf::from).find(|place| place.exists());
    found.context("mosquitto is missing: on Debian, `apt-get install mosquitto` installs it")
}

fn configuration(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
