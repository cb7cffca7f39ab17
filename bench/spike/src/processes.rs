//! Starts the processes that are measured, reads what the kernel knows about them, and ends them.
//!
//! A child announces its port on standard output and ends when its standard input closes, so that none outlives the
//! measuring process, however that ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context as _;

use crate::proxy::Driver;

/// How a broker is set up for one measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) driver: Driver,
    pub(crate) workers: u8,
    pub(crate) tls: bool,
}

/// A proxy and its storage process.
pub(crate) struct Broker {
    storage: Process,
    proxy: Process,
}

/// CPU time, user and system, and context switches since the processes started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) proxy_ns: u64,
    pub(crate) storage_ns: u64,
    pub(crate) proxy_switches: u64,
}

impl Broker {
    /// Starts both processes.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(crate) fn start(setup: Setup) -> anyhow::Result<Self> {
        let storage = Process::start(&["echo".to_owned()])?;
        let mut arguments = vec![
            "proxy".to_owned(),
            format!(
                "--driver={}",
                if setup.driver == Driver::AsyncFd {
                    "async-fd"
                } else {
                    "epoll"
                }
            ),
            format!("--workers={}", setup.workers),
            format!("--storage={}", storage.address),
        ];
        if setup.tls {
            arguments.push("--tls".to_owned());
        }
        let proxy = Process::start(&arguments)?;
        Ok(Self { storage, proxy })
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// # Errors
    /// When a process has ended.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let (proxy_ns, proxy_switches) = self.proxy.usage()?;
        Ok(Usage {
            proxy_ns,
            storage_ns: self.storage.usage()?.0,
            proxy_switches,
        })
    }

    /// Anonymous resident memory of the proxy.
    ///
    /// # Errors
    /// When the process has ended.
    pub(crate) fn proxy_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.proxy.child.id()))?;
        Ok(field(&status, "RssAnon:").context("no RssAnon in the status")? * 1024)
    }

    /// Ends both processes and returns the proxy's counters.
    ///
    /// # Errors
    /// When the proxy had already ended by itself.
    pub(crate) fn stop(mut self) -> anyhow::Result<String> {
        let counters = self.proxy.last_words()?;
        anyhow::ensure!(!counters.is_empty(), "the proxy ended before it was told to");
        Ok(counters)
    }
}

struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Process {
    fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the child has no standard output")?;
        let mut process = Self {
            child,
            stdout: BufReader::new(stdout),
            address: SocketAddr::from(([0; 4], 0)),
        };
        let mut line = String::new();
        process.stdout.read_line(&mut line)?;
        process.address = line
            .trim()
            .parse()
            .with_context(|| format!("no address from {arguments:?}"))?;
        Ok(process)
    }

    /// The sum over threads; all live as long as the process, so none is missed. The scheduler's own nanoseconds, not
    /// the ticks of 10 ms in `/proc/PID/stat`.
    fn usage(&self) -> anyhow::Result<(u64, u64)> {
        let (mut ns, mut switches) = (0, 0);
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?.path();
            let schedstat = fs::read_to_string(thread.join("schedstat"))?;
            let on_cpu: u64 = schedstat
                .split_whitespace()
                .next()
                .context("an empty schedstat")?
                .parse()?;
            let status = fs::read_to_string(thread.join("status"))?;
            ns += on_cpu;
            switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok((ns, switches))
    }

    fn last_words(&mut self) -> anyhow::Result<String> {
        drop(self.child.stdin.take());
        let mut words = String::new();
        self.stdout.read_to_string(&mut words)?;
        Ok(words.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Busy time of the whole machine in seconds, idle and waiting for disks left out: shows how much others disturbed.
pub(crate) fn machine_busy_seconds() -> anyhow::Result<f64> {
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
pub(crate) fn own_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::try_from(time).unwrap_or_default().as_secs_f64()
}
