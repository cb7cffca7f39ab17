//! Starts the processes that are measured, and ends them.
//!
//! A child announces its port on standard output and ends when its standard input closes, so that none outlives the
//! measuring process, however that ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use freshet_bench_load::{Memory, Usage, process_usage, resident_bytes};

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

impl freshet_bench_load::Broker for Broker {
    fn addresses(&self) -> &[SocketAddr] {
        std::slice::from_ref(&self.proxy.address)
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        let proxy = process_usage(self.proxy.child.id())?;
        Ok(Usage {
            proxy_ns: proxy.cpu_ns,
            storage_ns: process_usage(self.storage.child.id())?.cpu_ns,
            proxy_switches: proxy.switches,
        })
    }

    fn memory(&self) -> anyhow::Result<Memory> {
        Ok(Memory {
            proxy_bytes: resident_bytes(self.proxy.child.id())?,
            ..Memory::default()
        })
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
