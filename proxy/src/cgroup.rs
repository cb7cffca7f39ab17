//! What this process's container uses and may use, by its cgroup, version 1 or 2.
//!
//! Asked once per answer of `/loadz`; the files are read anew each time, a few hundred bytes from the kernel's memory. What
//! cannot be read is not known. Limits are those of the container itself, which Kubernetes sets on it.

use std::fs;
use std::path::{Path, PathBuf};

use freshet_load::{Cpu, Memory};

/// Where the kernel shows cgroups.
const MOUNT: &str = "/sys/fs/cgroup";
/// Which cgroups this process is in.
const OWN: &str = "/proc/self/cgroup";
/// Version 1 has no word for "no limit" but a number of this size.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// Folders of this process's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cgroup {
    /// One folder for everything.
    V2(PathBuf),
    /// A folder for each controller.
    V1 {
        /// Limit of CPU and throttling.
        cpu: PathBuf,
        /// Use of CPU.
        cpuacct: PathBuf,
        /// Memory.
        memory: PathBuf,
    },
}

impl Cgroup {
    /// Finds the cgroup of this process.
    pub(crate) fn of_this_process() -> Self {
        Self::find(Path::new(MOUNT), &fs::read_to_string(OWN).unwrap_or_default())
    }

    /// Finds it below `mount`, by the lines of `/proc/self/cgroup`.
    fn find(mount: &Path, own: &str) -> Self {
        if mount.join("cgroup.controllers").exists() {
            return Self::V2(folder(mount, path_of(own, "")));
        }
        let of = |controller: &str| folder(&mount.join(controller), path_of(own, controller));
        Self::V1 {
            cpu: of("cpu"),
            cpuacct: of("cpuacct"),
            memory: of("memory"),
        }
    }

    /// CPU that was used, and its limit.
    pub(crate) fn cpu(&self) -> Cpu {
        match self {
            Self::V2(folder) => {
                let stat = Table::read(&folder.join("cpu.stat"));
                Cpu {
                    usage_us_total: stat.value("usage_usec"),
                    periods_total: stat.value("nr_periods"),
                    throttled_periods_total: stat.value("nr_throttled"),
                    throttled_us_total: stat.value("throttled_usec"),
                    limit_millicores: read(&folder.join("cpu.max")).and_then(|text| {
                        let (quota, period) = text.split_once(' ')?;
                        millicores(quota, period)
                    }),
                }
            }
            Self::V1 { cpu, cpuacct, .. } => {
                let stat = Table::read(&cpu.join("cpu.stat"));
                let quota = read(&cpu.join("cpu.cfs_quota_us"));
                let period = read(&cpu.join("cpu.cfs_period_us"));
                Cpu {
                    usage_us_total: number(&cpuacct.join("cpuacct.usage")).map(|ns| ns / 1_000),
                    periods_total: stat.value("nr_periods"),
                    throttled_periods_total: stat.value("nr_throttled"),
                    throttled_us_total: stat.value("throttled_time").map(|ns| ns / 1_000),
                    limit_millicores: quota
                        .zip(period)
                        .and_then(|(quota, period)| millicores(&quota, &period)),
                }
            }
        }
    }

    /// Memory that is used, and its limit.
    pub(crate) fn memory(&self) -> Memory {
        let (folder, used, limit, inactive) = match self {
            Self::V2(folder) => (folder, "memory.current", "memory.max", "inactive_file"),
            Self::V1 { memory, .. } => (
                memory,
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
                "total_inactive_file",
            ),
        };
        let reclaimable = Table::read(&folder.join("memory.stat")).value(inactive);
        Memory {
            used_bytes: number(&folder.join(used)).map(|used| used.saturating_sub(reclaimable.unwrap_or(0))),
            // "max" is no number.
            limit_bytes: number(&folder.join(limit)).filter(|limit| *limit < NO_LIMIT_BYTES),
        }
    }
}

/// The path behind a controller in the lines of `/proc/self/cgroup`; version 2 has none.
fn path_of<'a>(own: &'a str, controller: &str) -> &'a str {
    let of = |line: &'a str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        controllers.split(',').any(|one| one == controller).then_some(path)
    };
    own.lines().find_map(of).unwrap_or("/")
}

/// The folder of a path; where only the container's own part is mounted, that is the mount itself.
fn folder(mount: &Path, path: &str) -> PathBuf {
    let inside = mount.join(path.trim_start_matches('/'));
    if inside.is_dir() { inside } else { mount.to_owned() }
}

/// A quota per period as thousandths of a CPU. "max" and -1 are no limit.
fn millicores(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    quota.checked_mul(1_000)?.checked_div(period)
}

fn read(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

fn number(file: &Path) -> Option<u64> {
    read(file)?.trim().parse().ok()
}

/// A file of lines with a name and a number each.
struct Table(String);

impl Table {
    fn read(file: &Path) -> Self {
        Self(read(file).unwrap_or_default())
    }

    fn value(&self, name: &str) -> Option<u64> {
        let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as they were recorded in a container with 200m of CPU and 512 MiB.
    struct Recorded(PathBuf);

    impl Recorded {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = std::env::temp_dir().join(format!("freshet-cgroup-{name}-{}", std::process::id()));
            for (file, text) in files {
                let file = folder.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(folder)
        }
    }

    impl Drop for Recorded {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn limited() -> (Cpu, Memory) {
        let cpu = Cpu {
            usage_us_total: Some(81_234_567),
            periods_total: Some(4_321),
            throttled_periods_total: Some(120),
            throttled_us_total: Some(9_876_543),
            limit_millicores: Some(200),
        };
        let memory = Memory {
            used_bytes: Some(62_914_560 - 4_194_304),
            limit_bytes: Some(536_870_912),
        };
        (cpu, memory)
    }

    const V2_CPU_STAT: &str = "usage_usec 81234567\nuser_usec 50123456\nsystem_usec 31111111\n\
        core_sched.force_idle_usec 0\nnr_periods 4321\nnr_throttled 120\nthrottled_usec 9876543\n\
        nr_bursts 0\nburst_usec 0\n";
    const V2_MEMORY_STAT: &str = "anon 51380224\nfile 8388608\nkernel 2097152\nkernel_stack 229376\n\
        inactive_anon 51380224\nactive_anon 0\ninactive_file 4194304\nactive_file 4194304\n";

    #[test]
    fn version_2_is_one_folder() {
        let recorded = Recorded::new(
            "v2",
            &[
                ("cgroup.controllers", "cpuset cpu io memory pids\n"),
                ("cpu.stat", V2_CPU_STAT),
                ("cpu.max", "20000 100000\n"),
                ("memory.current", "62914560\n"),
                ("memory.max", "536870912\n"),
                ("memory.stat", V2_MEMORY_STAT),
            ],
        );
        let cgroup = Cgroup::find(&recorded.0, "0::/\n");
        assert_eq!(cgroup, Cgroup::V2(recorded.0.clone()));
        assert_eq!((cgroup.cpu(), cgroup.memory()), limited());
    }

    #[test]
    fn without_limits_of_version_2_they_are_missing_and_the_rest_is_there() {
        let recorded = Recorded::new(
            "v2-unlimited",
            &[
                ("cgroup.controllers", "cpu memory\n"),
                ("pods/one/cpu.stat", "usage_usec 7\nuser_usec 3\nsystem_usec 4\n"),
                ("pods/one/cpu.max", "max 100000\n"),
                ("pods/one/memory.current", "4096\n"),
                ("pods/one/memory.max", "max\n"),
            ],
        );
        let cgroup = Cgroup::find(&recorded.0, "0::/pods/one\n");
        let cpu = cgroup.cpu();
        assert_eq!((cpu.usage_us_total, cpu.limit_millicores), (Some(7), None));
        assert_eq!(cpu.throttled_us_total, None);
        let memory = cgroup.memory();
        assert_eq!((memory.used_bytes, memory.limit_bytes), (Some(4_096), None));
    }

    #[test]
    fn version_1_is_a_folder_for_each_controller() {
        let recorded = Recorded::new(
            "v1",
            &[
                ("cpu/kubepods/a/cpu.cfs_quota_us", "20000\n"),
                ("cpu/kubepods/a/cpu.cfs_period_us", "100000\n"),
                (
                    "cpu/kubepods/a/cpu.stat",
                    "nr_periods 4321\nnr_throttled 120\nthrottled_time 9876543210\n",
                ),
                ("cpuacct/kubepods/a/cpuacct.usage", "81234567890\n"),
                // Only the container's own part is mounted here.
                ("memory/memory.usage_in_bytes", "62914560\n"),
                ("memory/memory.limit_in_bytes", "536870912\n"),
                (
                    "memory/memory.stat",
                    "cache 8388608\ninactive_file 1\ntotal_inactive_file 4194304\n",
                ),
            ],
        );
        let own = "9:memory:/kubepods/a\n4:cpu,cpuacct:/kubepods/a\n1:name=systemd:/kubepods/a\n0::/\n";
        let cgroup = Cgroup::find(&recorded.0, own);
        assert_eq!((cgroup.cpu(), cgroup.memory()), limited());
    }

    #[test]
    fn the_huge_numbers_of_version_1_are_no_limit() {
        let recorded = Recorded::new(
            "v1-unlimited",
            &[
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
                ("memory/memory.usage_in_bytes", "4096\n"),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        let cgroup = Cgroup::find(&recorded.0, "");
        assert_eq!(cgroup.cpu().limit_millicores, None);
        assert_eq!(
            (cgroup.memory().used_bytes, cgroup.memory().limit_bytes),
            (Some(4_096), None)
        );
    }

    #[test]
    fn without_cgroups_nothing_is_known() {
        let cgroup = Cgroup::find(Path::new("/nowhere"), "");
        assert_eq!((cgroup.cpu(), cgroup.memory()), (Cpu::default(), Memory::default()));
    }

    #[test]
    fn this_machine_says_what_its_cgroup_has_used() {
        let cgroup = Cgroup::of_this_process();
        let used = || cgroup.cpu().usage_us_total;
        let Some(before) = used() else {
            // The root of version 2 without a controller says nothing of itself.
            assert!(matches!(cgroup, Cgroup::V2(_)));
            return;
        };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while used().is_none_or(|now| now <= before) {
            assert!(std::time::Instant::now() < until, "{cgroup:?} counts nothing");
        }
    }
}
