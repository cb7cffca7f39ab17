//! The cgroups below which an instance's pods run: one of its own per node, in every hierarchy that the machine has.
//!
//! Version 1 (several hierarchies), version 2 (one), and both beside each other.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// What a kubelet expects a hierarchy of version 2 to offer.
const NEEDED_CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    is_v2: bool,
}

/// Makes a cgroup, such as `freshet-dev/node1`, in every hierarchy.
///
/// # Errors
/// When the kernel refuses.
pub fn ensure(cgroup: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        let mut parent = hierarchy.mount.clone();
        for part in cgroup.split('/') {
            if hierarchy.is_v2 {
                offer_controllers(&parent)?;
            }
            let folder = parent.join(part);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            // An empty set of processors is no place for a process, and version 1 starts with one.
            for set in ["cpuset.cpus", "cpuset.mems"] {
                if !hierarchy.is_v2 && folder.join(set).exists() {
                    let inherited = std::fs::read_to_string(parent.join(set))
                        .with_context(|| format!("cannot read {}", parent.join(set).display()))?;
                    std::fs::write(folder.join(set), inherited.trim())
                        .with_context(|| format!("cannot write {}", folder.join(set).display()))?;
                }
            }
            parent = folder;
        }
    }
    Ok(())
}

/// Lets the children of a cgroup of version 2 have the controllers that the kernel has and a kubelet needs.
fn offer_controllers(folder: &Path) -> anyhow::Result<()> {
    let offered = std::fs::read_to_string(folder.join("cgroup.controllers"))
        .with_context(|| format!("cannot read the controllers of {}", folder.display()))?;
    for controller in NEEDED_CONTROLLERS
        .iter()
        .filter(|needed| offered.split_whitespace().any(|o| o == **needed))
    {
        let path = folder.join("cgroup.subtree_control");
        std::fs::write(&path, format!("+{controller}"))
            .with_context(|| format!("cannot offer {controller} in {}", path.display()))?;
    }
    Ok(())
}

/// The processes in a cgroup and below it, in any hierarchy, each once.
///
/// # Errors
/// When a hierarchy cannot be read.
pub fn processes(cgroup: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for hierarchy in hierarchies()? {
        visit(&hierarchy.mount.join(cgroup), &mut |folder| {
            let listed = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
        });
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Removes a cgroup with all below it, which must hold no process.
///
/// # Errors
/// When one stays.
pub fn remove(cgroup: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        let mut left = Ok(());
        visit(&hierarchy.mount.join(cgroup), &mut |folder| {
            if let Err(error) = std::fs::remove_dir(folder)
                && folder.exists()
            {
                left = Err(error).with_context(|| format!("cannot remove {}", folder.display()));
            }
        });
        left?;
    }
    Ok(())
}

/// Calls `each` for the folders below a folder and then for itself.
fn visit(folder: &Path, each: &mut impl FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path(), each);
        }
    }
    each(folder);
}

fn hierarchies() -> anyhow::Result<Vec<Hierarchy>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("no table of mounts")?;
    Ok(parse_hierarchies(&table))
}

/// Reads the kernel's table of mounts (proc(5), `/proc/[pid]/mountinfo`).
fn parse_hierarchies(table: &str) -> Vec<Hierarchy> {
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let is_v2 = match after.split(' ').next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        Some(Hierarchy {
            mount: PathBuf::from(before.split(' ').nth(4)?),
            is_v2,
        })
    };
    let mut found: Vec<Hierarchy> = table.lines().filter_map(parse).collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_among_other_mounts() {
        let table = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                     32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                     41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:7 - cgroup2 cgroup2 rw\n";
        let expected = [
            Hierarchy {
                mount: "/sys/fs/cgroup/cpu".into(),
                is_v2: false,
            },
            Hierarchy {
                mount: "/sys/fs/cgroup/unified".into(),
                is_v2: true,
            },
        ];
        assert_eq!(parse_hierarchies(table), expected);
    }

    #[test]
    fn a_cgroup_that_is_not_there_has_no_processes_and_is_removed() {
        assert_eq!(processes("freshet-no-such-instance").unwrap(), Vec::<u32>::new());
        remove("freshet-no-such-instance").unwrap();
    }
}
