//! What clients and brokers of others need to run: Debian's interpreters and compilers, and the pinned libraries.
//!
//! A library is installed once, into a folder of the project's cache that the hash of its lock file names; another
//! lock file is another folder. Nothing is installed into the user's own places.

mod brokers;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use freshet_e2e::command;
use freshet_e2e::node::binaries::cache_folder;
use freshet_e2e::node::lock::Lock;
use freshet_e2e::node::packages::{self, Group, find_program};
use freshet_e2e::progress::{Step, step};
use sha2::{Digest as _, Sha256};

pub(crate) use brokers::{hivemq_broker, mochi_broker, mosquitto_broker, rumqttd_broker};

/// A program with its arguments, ready to be started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

impl Program {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.args
            .iter()
            .try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
    }
}

impl From<Program> for tokio::process::Command {
    fn from(program: Program) -> Self {
        let mut command = Self::new(program.path);
        command.args(program.args).envs(program.env);
        command
    }
}

/// Debian's programs.
///
/// # Errors
/// When a package cannot be installed.
pub(crate) async fn mosquitto() -> anyhow::Result<()> {
    step("mosquitto clients", async |step: &Step| {
        packages::ensure(&[Group::Clients], step).await
    })
    .await
}

/// The driver of paho, with the library from PyPI.
///
/// # Errors
/// When a package cannot be installed.
pub(crate) async fn paho() -> anyhow::Result<Program> {
    let target = step("paho", async |step: &Step| {
        packages::ensure(&[Group::Python], step).await?;
        install(
            &sources("paho"),
            "paho",
            &["requirements.txt"],
            step,
            async |source, target| {
                let mut pip = tokio::process::Command::new(find_program("python3")?);
                pip.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]);
                pip.arg("--target").arg(target);
                pip.arg("--requirement").arg(source.join("requirements.txt"));
                command::run(&mut pip).await.map(drop)
            },
        )
        .await
    })
    .await?;
    Ok(Program::new(find_program("python3")?)
        .args([sources("paho").join("driver.py")])
        .env("PYTHONPATH", target))
}

/// The driver of mqtt.js, with the library from npm.
///
/// # Errors
/// When a package cannot be installed.
pub(crate) async fn mqttjs() -> anyhow::Result<Program> {
    const MANIFESTS: [&str; 2] = ["package.json", "package-lock.json"];
    let target = step("mqtt.js", async |step: &Step| {
        packages::ensure(&[Group::Node], step).await?;
        install(
            &sources("mqttjs"),
            "mqttjs",
            &MANIFESTS,
            step,
            async |source, target| {
                for manifest in MANIFESTS {
                    copy(&source.join(manifest), &target.join(manifest))?;
                }
                let mut npm = tokio::process::Command::new(find_program("npm")?);
                npm.args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]);
                npm.current_dir(target);
                command::run(&mut npm).await.map(drop)
            },
        )
        .await
    })
    .await?;
    Ok(Program::new(find_program("node")?)
        .args([sources("mqttjs").join("driver.js")])
        .env("NODE_PATH", target.join("node_modules")))
}

/// The driver of HiveMQ's client, compiled, with the libraries from Maven Central.
///
/// # Errors
/// When a package cannot be installed or the driver does not compile.
pub(crate) async fn hivemq() -> anyhow::Result<Program> {
    const SOURCES: [&str; 4] = ["Driver.java", "Peer3.java", "Peer5.java", "Riddle.java"];
    let target = step("HiveMQ", async |step: &Step| {
        packages::ensure(&[Group::Java], step).await?;
        let mut keys = vec!["pom.xml"];
        keys.extend(SOURCES);
        install(&sources("hivemq"), "hivemq", &keys, step, async |source, target| {
            compile_java(source, &SOURCES, target).await
        })
        .await
    })
    .await?;
    Ok(java(&target)?.args(["Driver"]))
}

/// Compiles sources against what the `pom.xml` beside them names.
async fn compile_java(source: &Path, files: &[&str], target: &Path) -> anyhow::Result<()> {
    fetch_java_libraries(&source.join("pom.xml"), &target.join("libraries")).await?;
    let mut javac = tokio::process::Command::new(find_program("javac")?);
    javac.arg("-d").arg(target.join("classes"));
    javac.arg("-cp").arg(target.join("libraries/*"));
    javac.args(files).current_dir(source);
    command::run(&mut javac).await.map(drop)
}

/// A Java machine with what [`compile_java`] made; the class to run comes next.
fn java(target: &Path) -> anyhow::Result<Program> {
    let mut class_path = target.join("classes").into_os_string();
    class_path.push(":");
    class_path.push(target.join("libraries/*"));
    Ok(Program::new(find_program("java")?).args([
        "-XX:+UseSerialGC".into(),
        "-Xmx512m".into(),
        "-cp".into(),
        class_path,
    ]))
}

/// Copies what a `pom.xml` names, and what that needs, into a folder.
async fn fetch_java_libraries(pom: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut maven = tokio::process::Command::new(find_program("mvn")?);
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(pom);
    let mut repository = OsString::from("-Dmaven.repo.local=");
    repository.push(cache_folder()?.join("clients/maven"));
    let mut output = OsString::from("-DoutputDirectory=");
    output.push(folder);
    maven.args([repository, output]).arg("dependency:copy-dependencies");
    command::run(&mut maven).await.map(drop)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Where the sources of a driver are.
fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers").join(name)
}

/// Installs into the folder of the cache that belongs to these files, unless that is complete, and returns it.
async fn install(
    source: &Path,
    name: &str,
    keys: &[&str],
    step: &Step,
    install: impl AsyncFnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let target = cache_folder()?
        .join("clients")
        .join(format!("{name}-{}", hash(source, keys)?));
    let complete = target.with_extension("complete");
    if complete.exists() {
        step.outcome(format!("installed before: {}", target.display()));
        return Ok(target);
    }
    let parent = target.parent().context("no folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let _lock = Lock::acquire(&target.with_extension("lock"), name).await?;
    if complete.exists() {
        step.outcome("installed by another run meanwhile");
        return Ok(target);
    }
    // A run that was killed may have left half of it.
    if target.exists() {
        std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    std::fs::create_dir(&target).with_context(|| format!("cannot make {}", target.display()))?;
    install(source, &target).await?;
    std::fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
    step.outcome(format!("installed: {}", target.display()));
    Ok(target)
}

fn hash(folder: &Path, names: &[&str]) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for name in names {
        let file = folder.join(name);
        hash.update(std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(hash
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
