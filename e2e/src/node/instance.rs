//! An instance: one embedded cluster of this machine, by name, and where it keeps what it needs to be ended again.
//!
//! Names and paths follow from the instance's name alone, so that `down` works without the record that `up` wrote.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::addresses::{Addresses, MAX_NODES, SLOTS};
use super::lock::Lock;

/// Overrides where instances keep their state.
pub const ENV_STATE_DIR: &str = "FRESHET_STATE_DIR";
/// Where instances keep their state: sockets and volumes, so not in a home directory.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/freshet";
/// The instance that `make up` means.
pub const DEFAULT_INSTANCE: &str = "dev";
/// Longest name: it is part of socket paths, which end at 107 bytes.
const MAX_NAME_LENGTH: usize = 20;

/// The name of an instance: up to 20 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceName(String);

impl FromStr for InstanceName {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > MAX_NAME_LENGTH || !name.chars().all(allowed) || name.starts_with('-') {
            bail!("instance name {name:?}: 1 to {MAX_NAME_LENGTH} of a-z, 0-9 and -, not starting with -");
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for InstanceName {
    fn default() -> Self {
        Self(DEFAULT_INSTANCE.to_owned())
    }
}

/// What `up` wrote down about an instance, for later runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which ranges of addresses it has.
    pub slot: u8,
    /// How many nodes it has.
    pub nodes: u8,
    /// The kernel's id of the boot in which it was started: a later boot has none of its processes.
    pub boot_id: String,
    /// The folder of the server binaries that it runs.
    pub binaries: PathBuf,
}

/// One embedded cluster: its name and its paths. Holding one says nothing about whether it runs.
#[derive(Debug, Clone)]
pub struct Instance {
    name: InstanceName,
    root: PathBuf,
}

impl Instance {
    /// Returns the instance of a name, below `$FRESHET_STATE_DIR` or [`DEFAULT_STATE_DIR`].
    #[must_use]
    pub fn named(name: InstanceName) -> Self {
        let root = std::env::var_os(ENV_STATE_DIR).map_or_else(|| PathBuf::from(DEFAULT_STATE_DIR), PathBuf::from);
        Self { name, root }
    }

    /// Returns the instance of a name below a folder.
    #[must_use]
    pub fn below(root: &Path, name: InstanceName) -> Self {
        Self {
            name,
            root: root.to_path_buf(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &InstanceName {
        &self.name
    }

    /// Where all instances keep their state.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where this instance keeps its state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join(&self.name.0)
    }

    /// Where a node keeps its state.
    #[must_use]
    pub fn node_state(&self, number: u8) -> PathBuf {
        self.state().join(node_name(number))
    }

    /// A folder below the state: made when it does not exist.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.state().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// The administrator's kubeconfig; it works on this machine and inside the namespaces.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    /// The network namespace of the bridge between the nodes and the machine.
    #[must_use]
    pub fn switch_namespace(&self) -> String {
        format!("freshet-{}-switch", self.name)
    }

    /// The network namespace of a node.
    #[must_use]
    pub fn node_namespace(&self, number: u8) -> String {
        format!("freshet-{}-{}", self.name, node_name(number))
    }

    /// Every network namespace that the instance may have, whether or not it does.
    #[must_use]
    pub fn possible_namespaces(&self) -> Vec<String> {
        let nodes = (1..=MAX_NODES).map(|number| self.node_namespace(number));
        nodes.chain([self.switch_namespace()]).collect()
    }

    /// The cgroup below which all pods of the instance run, without its first slash.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("freshet-{}", self.name)
    }

    /// The cgroup of a node, without its first slash.
    #[must_use]
    pub fn node_cgroup(&self, number: u8) -> String {
        format!("{}/{}", self.cgroup(), node_name(number))
    }

    /// Waits until no other process changes this instance.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub async fn lock(&self) -> anyhow::Result<Lock> {
        let path = PathBuf::from(format!("/run/lock/freshet-{}.lock", self.name));
        Lock::acquire(&path, &format!("instance {}", self.name)).await
    }

    /// Reads what `up` wrote down; `None` when the instance was never started, or its record is damaged.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        let text = std::fs::read(self.record_path()).ok()?;
        serde_json::from_slice(&text)
            .ok()
            .filter(|record: &Record| record.slot < SLOTS && record.nodes <= MAX_NODES)
    }

    /// Writes down what later runs need.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.state()).with_context(|| format!("cannot make {}", self.state().display()))?;
        write_atomically(&self.record_path(), &serde_json::to_vec_pretty(record)?)
    }

    fn record_path(&self) -> PathBuf {
        self.state().join("instance.json")
    }

    /// Finds a slot that no other instance holds and no route or address of the machine overlaps.
    ///
    /// `in_use` are the destinations and addresses that the machine has.
    ///
    /// # Errors
    /// When all are taken.
    pub fn choose_slot(&self, in_use: &[String]) -> anyhow::Result<u8> {
        let held: Vec<u8> = others(&self.root, &self.name)?
            .iter()
            .filter_map(Self::record)
            .map(|r| r.slot)
            .collect();
        (0..SLOTS)
            .find(|slot| {
                let addresses = Addresses::of_slot(*slot);
                !held.contains(slot) && !in_use.iter().any(|destination| addresses.overlaps(destination))
            })
            .with_context(|| format!("all {SLOTS} ranges 172.30.N.0/24 and 10.(100+N).0.0/16 are in use"))
    }
}

/// Returns the instances below `root` that have state, except one.
fn others(root: &Path, except: &InstanceName) -> anyhow::Result<Vec<Instance>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", root.display())),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<InstanceName>().ok());
    Ok(names
        .filter(|name| name != except)
        .map(|name| Instance::below(root, name))
        .collect())
}

/// The name of a node in Kubernetes, and of its folder.
#[must_use]
pub fn node_name(number: u8) -> String {
    format!("node{number}")
}

/// The kernel's id of this boot.
///
/// # Errors
/// When the kernel does not say.
pub fn boot_id() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("no boot id")?
        .trim()
        .to_owned())
}

/// Writes a file so that no reader, and no run after an interruption, sees half of it.
///
/// # Errors
/// When it cannot be written.
pub fn write_atomically(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, content).with_context(|| format!("cannot write {}", next.display()))?;
    std::fs::rename(&next, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, root: &Path) -> Instance {
        Instance::below(root, name.parse().unwrap())
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for name in [
            "",
            "..",
            "a/b",
            "A",
            "-x",
            "a_b",
            "a-name-of-more-than-twenty-characters",
        ] {
            assert!(name.parse::<InstanceName>().is_err(), "{name}");
        }
        assert!("test-2".parse::<InstanceName>().is_ok());
    }

    #[test]
    fn a_slot_that_another_instance_or_the_machine_holds_is_not_chosen() {
        let root = std::env::temp_dir().join(format!("freshet-slots-{}", std::process::id()));
        let (first, second) = (instance("one", &root), instance("two", &root));
        assert_eq!(first.choose_slot(&[]).unwrap(), 0);
        let record = Record {
            slot: 0,
            nodes: 1,
            boot_id: String::new(),
            binaries: PathBuf::new(),
        };
        first.write_record(&record).unwrap();
        assert_eq!(second.choose_slot(&[]).unwrap(), 1);
        assert_eq!(second.choose_slot(&["172.30.1.0/24".to_owned()]).unwrap(), 2);
        assert_eq!(first.choose_slot(&[]).unwrap(), 0);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_damaged_record_counts_as_none() {
        let root = std::env::temp_dir().join(format!("freshet-damaged-{}", std::process::id()));
        let damaged = instance("one", &root);
        std::fs::create_dir_all(damaged.state()).unwrap();
        std::fs::write(damaged.record_path(), "{").unwrap();
        assert!(damaged.record().is_none());
        std::fs::write(
            damaged.record_path(),
            r#"{"slot":99,"nodes":1,"boot_id":"","binaries":""}"#,
        )
        .unwrap();
        assert!(damaged.record().is_none());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
