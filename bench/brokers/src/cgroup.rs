//! A cgroup for the processes of one broker, which says what they hold with what the kernel holds for them: buffers of
//! sockets above all. Of either version; a machine that lets none be made has no such figure.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

/// Where the memory of cgroups is, and the file that says what one holds: version 1, version 2.
const PLACES: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.usage_in_bytes"),
    ("/sys/fs/cgroup", "memory.current"),
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    usage: &'static str,
}

impl Cgroup {
    /// Makes one; none where that cannot be.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("freshet-bench-{}-{number}", std::process::id());
        PLACES.into_iter().find_map(|(place, usage)| {
            let cgroup = Self {
                folder: Path::new(place).join(&name),
                usage,
            };
            fs::create_dir(&cgroup.folder).ok()?;
            // Made without the controller of memory it is of no use, and goes again.
            cgroup.folder.join(usage).exists().then_some(cgroup)
        })
    }

    /// Puts a process in.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn add(&self, pid: u32) -> anyhow::Result<()> {
        let procs = self.folder.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).with_context(|| format!("{} takes no process", procs.display()))
    }

    /// What its processes hold, and the kernel for them.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(crate) fn bytes(&self) -> anyhow::Result<u64> {
        let usage = self.folder.join(self.usage);
        let text = fs::read_to_string(&usage).with_context(|| format!("{} cannot be read", usage.display()))?;
        Ok(text.trim().parse()?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while a process is in it; an empty one that stays costs nothing.
        let _ = fs::remove_dir(&self.folder);
    }
}
