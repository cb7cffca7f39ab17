//! The programs of the embedded Kubernetes: built once from the Go modules that `e2e/node/go.mod` pins, and cached.
//!
//! The cache's folder is named by what goes into it (`go.mod`, `go.sum`, the sources beside them, Go's version), so
//! that a change of any builds anew and nothing else does. A program that is in the folder is complete: each is
//! renamed into it when built.

mod build;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::lock::Lock;
use crate::command;
use crate::progress::Step;

/// Oldest Go that builds the pinned modules; older ones would download another one.
const MIN_GO: (u32, u32) = (1, 25);
/// Free space that a build into an empty Go cache needs, measured, with room to spare.
const BUILD_SPACE_BYTES: u64 = 8 << 30;
/// How often a running build says how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(15);

/// A program of the embedded Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the names of the programs")]
pub enum Program {
    Kubectl,
    Helm,
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
    KubeProxy,
    Coredns,
    /// Makes the volumes of the default StorageClass.
    VolumeProvisioner,
    /// Holds a pod's namespaces; the only C program.
    Pause,
}

impl Program {
    /// What a person needs who talks to some Kubernetes.
    pub const CLIENTS: &'static [Self] = &[Self::Kubectl, Self::Helm];
    /// Everything that an embedded Kubernetes is made of.
    pub const ALL: &'static [Self] = &[
        Self::Kubectl,
        Self::Helm,
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Coredns,
        Self::VolumeProvisioner,
        Self::Pause,
    ];

    /// Its file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Coredns => "coredns",
            Self::VolumeProvisioner => "volume-provisioner",
            Self::Pause => "pause",
        }
    }

    /// Its Go package; `None` for what is not Go.
    fn package(self) -> Option<&'static str> {
        Some(match self {
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v3/cmd/helm",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::Coredns => "./dns",
            Self::VolumeProvisioner => "./volumes",
            Self::Pause => return None,
        })
    }
}

/// A folder of built programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Takes a folder that an earlier [`ensure`] returned.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a program is.
    #[must_use]
    pub fn path(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }

    fn missing(&self, of: &[Program]) -> Vec<Program> {
        of.iter()
            .copied()
            .filter(|program| !self.path(*program).exists())
            .collect()
    }
}

/// The project's own cache, `$XDG_CACHE_HOME/freshet` or `~/.cache/freshet`.
///
/// # Errors
/// When neither variable is set.
pub fn cache_folder() -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from);
    let base = given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("freshet"))
}

/// Returns the built programs, after building those that are missing.
///
/// # Errors
/// When Go is missing or too old, the disk is too full, or a build fails.
pub async fn ensure(programs: &[Program], step: &Step) -> anyhow::Result<Binaries> {
    let go = go_version().await?;
    let folder = cache_folder()?.join("node").join(build_id(&go)?);
    let binaries = Binaries { folder };
    if binaries.missing(programs).is_empty() {
        step.outcome(format!("built before: {}", binaries.folder.display()));
        return Ok(binaries);
    }
    let folder = &binaries.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _lock = Lock::acquire(&folder.with_extension("lock"), "the server binaries").await?;
    let missing = binaries.missing(programs);
    if missing.is_empty() {
        step.outcome("built by another run meanwhile");
        return Ok(binaries);
    }
    require_space(folder, BUILD_SPACE_BYTES)?;
    build::build(&missing, folder, step).await?;
    step.outcome(format!("built {} programs into {}", missing.len(), folder.display()));
    Ok(binaries)
}

/// The sources that go into the programs, with this crate so that they are found wherever the program runs.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}

/// Names a build by its inputs.
fn build_id(go_version: &str) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    hash.update(go_version);
    hash.update(build::RECIPE);
    for name in ["go.mod", "go.sum", "dns/main.go", "volumes/main.go", "pause/pause.c"] {
        let path = sources().join(name);
        hash.update(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(crate::oci::hex(&hash.finalize())[..16].to_owned())
}

/// Asks Go for its version, and refuses one that is too old.
async fn go_version() -> anyhow::Result<String> {
    let said = command::run(Command::new("go").current_dir(sources()).args(["env", "GOVERSION"]))
        .await
        .context("Go is needed to build the embedded Kubernetes, and does not run (https://go.dev/doc/install)")?;
    let version = said.trim().to_owned();
    match parse_go_version(&version) {
        Some(found) if found >= MIN_GO => Ok(version),
        _ => bail!(
            "Go {}.{} or later is needed to build the embedded Kubernetes; this is {version}",
            MIN_GO.0,
            MIN_GO.1
        ),
    }
}

/// Reads `go1.26.8`, `go1.26rc1`.
fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("go")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Refuses to go on when the file system of `folder` has less than `bytes` free.
///
/// # Errors
/// Then, and when the file system does not say.
pub fn require_space(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    let status = rustix::fs::statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    if free < bytes {
        let gib = |bytes: u64| bytes.div_ceil(1 << 30);
        bail!(
            "{} has {} GiB free, and {} GiB are needed",
            folder.display(),
            free >> 30,
            gib(bytes)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.9rc2"), Some((1, 9)));
        assert!(parse_go_version("go1.9").unwrap() < MIN_GO);
        assert_eq!(parse_go_version("devel"), None);
    }

    #[test]
    fn another_go_or_other_sources_make_another_folder() {
        assert_ne!(build_id("go1.25.0").unwrap(), build_id("go1.26.0").unwrap());
        assert_eq!(build_id("go1.25.0").unwrap(), build_id("go1.25.0").unwrap());
    }

    #[test]
    fn a_disk_without_room_is_refused_before_the_build() {
        let error = require_space(&std::env::temp_dir(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("GiB free"), "{error}");
    }
}
