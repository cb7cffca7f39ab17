//! What the embedded Kubernetes and the tests take from Debian: asked for by the file that is needed, installed only
//! when missing.

use std::path::Path;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::command;
use crate::progress::Step;

/// Folders in which Debian keeps programs; root's `PATH` may lack the second.
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
/// Where Debian keeps the CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// What packages are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The nodes of an embedded Kubernetes.
    Nodes,
    /// Building images.
    Images,
    /// MQTT clients that somebody else wrote.
    Clients,
    /// Running what is written in Python, and installing its packages.
    Python,
    /// Running what is written in JavaScript, and installing its packages.
    Node,
    /// Compiling and running what is written in Java, and fetching its libraries.
    Java,
    /// MQTT brokers that somebody else wrote.
    Brokers,
}

/// A file that is needed, and the package that brings it.
#[derive(Debug, Clone, Copy)]
struct Needed {
    file: File,
    package: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum File {
    Program(&'static str),
    Path(&'static str),
}

const fn program(name: &'static str, package: &'static str) -> Needed {
    Needed {
        file: File::Program(name),
        package,
    }
}

const fn path(path: &'static str, package: &'static str) -> Needed {
    Needed {
        file: File::Path(path),
        package,
    }
}

const NODES: &[Needed] = &[
    program("containerd", "containerd"),
    program("ctr", "containerd"),
    program("runc", "runc"),
    path("/usr/lib/cni/bridge", "containernetworking-plugins"),
    path("/usr/lib/cni/portmap", "containernetworking-plugins"),
    program("ip", "iproute2"),
    program("iptables", "iptables"),
    program("conntrack", "conntrack"),
    program("ipset", "ipset"),
    // `kubectl port-forward` through containerd 1.6.
    program("socat", "socat"),
    program("nsenter", "util-linux"),
    program("setsid", "util-linux"),
    program("unshare", "util-linux"),
    program("mount", "mount"),
    // The pause program.
    program("cc", "gcc"),
    path("/usr/include/unistd.h", "libc6-dev"),
];

const IMAGES: &[Needed] = &[program("strip", "binutils"), program("ldd", "libc-bin")];

const CLIENTS: &[Needed] = &[
    program("mosquitto_pub", "mosquitto-clients"),
    program("mosquitto_sub", "mosquitto-clients"),
    program("stdbuf", "coreutils"),
];

const PYTHON: &[Needed] = &[program("python3", "python3"), path("/usr/bin/pip3", "python3-pip")];

const NODE: &[Needed] = &[program("node", "nodejs"), program("npm", "npm")];

const JAVA: &[Needed] = &[program("javac", "default-jdk-headless"), program("mvn", "maven")];

const BROKERS: &[Needed] = &[program("mosquitto", "mosquitto")];

impl Group {
    fn needed(self) -> &'static [Needed] {
        match self {
            Self::Nodes => NODES,
            Self::Images => IMAGES,
            Self::Clients => CLIENTS,
            Self::Python => PYTHON,
            Self::Node => NODE,
            Self::Java => JAVA,
            Self::Brokers => BROKERS,
        }
    }
}

impl Needed {
    fn is_there(self) -> bool {
        match self.file {
            File::Program(name) => PROGRAM_FOLDERS
                .iter()
                .any(|folder| Path::new(folder).join(name).exists()),
            File::Path(path) => Path::new(path).exists(),
        }
    }
}

/// Finds a program of a Debian package, wherever root's `PATH` points.
///
/// # Errors
/// When it is not installed.
pub fn find_program(name: &str) -> anyhow::Result<std::path::PathBuf> {
    PROGRAM_FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .with_context(|| format!("{name} is not installed"))
}

/// Installs the packages whose files are missing.
///
/// # Errors
/// When something is missing and `apt-get` is not there or fails.
pub async fn ensure(groups: &[Group], step: &Step) -> anyhow::Result<()> {
    let missing = missing(groups);
    if missing.is_empty() {
        step.outcome("all there");
        return Ok(());
    }
    let list = missing.join(" ");
    if find_program("apt-get").is_err() {
        bail!("missing packages (names as in Debian): {list}. There is no apt-get here: install them by hand");
    }
    step.note(format!("apt-get install {list}"));
    // The lists may be there and current: asking a mirror first would cost the offline machine its packages.
    if let Err(first) = apt_get(&install_arguments(&missing)).await {
        step.note("once more with fresh package lists");
        apt_get(&["update"]).await.with_context(|| format!("after {first:#}"))?;
        apt_get(&install_arguments(&missing)).await?;
    }
    let still = self::missing(groups);
    if !still.is_empty() {
        bail!(
            "apt-get succeeded, and yet these packages' files are missing: {}",
            still.join(" ")
        );
    }
    step.outcome(format!("installed {list}"));
    Ok(())
}

fn missing(groups: &[Group]) -> Vec<&'static str> {
    let needed = groups.iter().flat_map(|group| group.needed());
    let mut packages: Vec<_> = needed
        .filter(|needed| !needed.is_there())
        .map(|needed| needed.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install_arguments<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    arguments
}

async fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=300", "-q"])
        .args(arguments);
    command::run(&mut apt).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_without_a_path_variable() {
        assert!(find_program("sh").unwrap().is_absolute());
        assert!(find_program("no-such-program-anywhere").is_err());
    }
}
