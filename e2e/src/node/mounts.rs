//! A mount namespace for each node, in which its containerd and kubelet live.
//!
//! Both have places outside of any folder that they can be told to use (`/var/lib/kubelet/device-plugins`,
//! `/run/containerd`, `/var/log/containers`, …): in the node's namespace these are folders of its own state, so that
//! nodes do not disturb each other or a Kubernetes that the machine belongs to. What they mount is seen by no one
//! else, and is gone when the last process of the node is.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::UnmountFlags;
use tokio::process::Command;

use super::instance::Instance;
use super::machine::Machine;
use super::packages::find_program;
use crate::command;

/// Folders of the machine that a node has to itself.
const OWN_FOLDERS: [&str; 5] = [
    "/run/containerd",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/log/pods",
];

/// The file that holds a node's mount namespace.
#[must_use]
pub fn namespace_path(instance: &Instance, number: u8) -> PathBuf {
    instance.node_state(number).join("mounts/namespace")
}

/// Makes a node's mount namespace, if it is missing, and returns its file.
///
/// # Errors
/// When something cannot be made or mounted.
pub async fn ensure(instance: &Instance, number: u8) -> anyhow::Result<PathBuf> {
    let path = namespace_path(instance, number);
    if is_mount_point(&path)? {
        return Ok(path);
    }
    let folder = instance.node_state(number).join("mounts");
    make_folder(&folder)?;
    std::fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
    // Held until they are mount points, so that nobody takes them away before.
    let machine = Machine::lock(instance).await?;
    machine.make_folders(&OWN_FOLDERS.map(Path::new))?;
    // A namespace's file can only be mounted where mounts do not spread to the namespace itself.
    if !is_mount_point(&folder)? {
        rustix::mount::mount_bind(&folder, &folder).with_context(|| format!("cannot mount {}", folder.display()))?;
    }
    rustix::mount::mount_change(&folder, rustix::mount::MountPropagationFlags::PRIVATE)
        .with_context(|| format!("cannot make {} private", folder.display()))?;
    // What the machine mounts and unmounts later is still followed, and containers may follow the node.
    let mut script = String::from("set -e; mount --make-rslave /; mount --make-rshared /");
    for own in OWN_FOLDERS {
        let state = instance
            .node_state(number)
            .join("machine")
            .join(own.trim_start_matches('/'));
        make_folder(&state)?;
        script += &format!("; mount --bind '{}' '{own}'", state.display());
    }
    let mut unshare = Command::new(find_program("unshare")?);
    unshare
        .arg(format!("--mount={}", path.display()))
        .args(["--propagation", "unchanged", "sh", "-c", &script]);
    command::run(&mut unshare).await.context("no mount namespace")?;
    drop(machine);
    Ok(path)
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

fn is_mount_point(path: &Path) -> anyhow::Result<bool> {
    Ok(mount_points()?.iter().any(|mounted| mounted == path))
}

/// Unmounts whatever is mounted at a folder or below it, the last first.
///
/// # Errors
/// When something stays.
pub fn unmount_below(folder: &Path) -> anyhow::Result<()> {
    let points = mount_points()?;
    for point in points.iter().rev().filter(|point| point.starts_with(folder)) {
        rustix::mount::unmount(point, UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount {}", point.display()))?;
    }
    Ok(())
}

/// The mount points of this process, in the order in which they were mounted.
fn mount_points() -> anyhow::Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("no table of mounts")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .collect())
}

/// Undoes the kernel's way of writing spaces and the like in tables: `\040`.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) => plain += &format!("{}{}", char::from(value), &part[3..]),
            None => plain += &format!("\\{part}"),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_way_of_writing_a_space_is_undone() {
        assert_eq!(unescape(r"/mnt/a\040b"), "/mnt/a b");
        assert_eq!(unescape(r"/mnt/a\b"), r"/mnt/a\b");
        assert_eq!(unescape(r"/mnt/a\04"), r"/mnt/a\04");
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(is_mount_point(Path::new("/")).unwrap());
        assert!(!is_mount_point(Path::new("/no/such/folder")).unwrap());
    }
}
