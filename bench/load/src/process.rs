//! What the kernel knows about processes: CPU, memory, and how busy the machine is.

use std::fs;

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit, setrlimit};

/// What a process has used since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// CPU time of all threads, user and system.
    pub cpu_ns: u64,
    /// Times that a thread went to sleep.
    pub switches: u64,
}

/// The sum over the threads that a process has: one that ended takes its time with it, so that brokers whose threads
/// end cannot be measured. The scheduler's own nanoseconds, not the ticks of 10 ms in `/proc/PID/stat`.
///
/// # Errors
/// When the process has ended.
pub fn process_usage(pid: u32) -> anyhow::Result<ProcessUsage> {
    let mut usage = ProcessUsage::default();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path();
        let schedstat = fs::read_to_string(thread.join("schedstat"))?;
        let on_cpu = schedstat.split_whitespace().next().context("an empty schedstat")?;
        usage.cpu_ns += on_cpu.parse::<u64>()?;
        let status = fs::read_to_string(thread.join("status"))?;
        usage.switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
    }
    Ok(usage)
}

/// Anonymous resident memory of a process. The kernel's socket buffers are not in it.
///
/// # Errors
/// When the process has ended.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(field(&status, "RssAnon:").context("no RssAnon in the status")? * 1024)
}

/// What a process has read from files and pipes, and has made the kernel write to disks, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessIo {
    /// Sockets are not in it.
    pub read_bytes: u64,
    /// Whole folios of the page cache, as soon as a byte of them is to be written: more than goes to the disk.
    pub written_bytes: u64,
}

/// Reads and writes of a process.
///
/// # Errors
/// When the process has ended.
pub fn process_io(pid: u32) -> anyhow::Result<ProcessIo> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    Ok(ProcessIo {
        read_bytes: field(&io, "rchar:").context("no rchar")?,
        written_bytes: field(&io, "write_bytes:").context("no write_bytes")?,
    })
}

/// Resident memory of a process with the pages of files in it, its program among them.
///
/// # Errors
/// When the process has ended.
pub fn whole_resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(field(&status, "VmRSS:").context("no VmRSS in the status")? * 1024)
}

/// Busy time of the whole machine in seconds, idle and waiting for disks left out: shows how much others disturbed.
///
/// # Errors
/// When the kernel does not say.
pub fn machine_busy_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks: Vec<u32> = stat
        .lines()
        .next()
        .context("an empty /proc/stat")?
        .split_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let busy: f64 = ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(i, _)| !matches!(i, 3 | 4))
        .map(|(_, t)| f64::from(*t))
        .sum();
    Ok(busy / 100.0)
}

/// CPU seconds of this process, the load.
#[must_use]
pub fn own_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::try_from(time).unwrap_or_default().as_secs_f64()
}

/// A connection is a descriptor on both sides; the hard limit bounds what can be measured.
pub fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // When it stays low the first measurement with many clients says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
