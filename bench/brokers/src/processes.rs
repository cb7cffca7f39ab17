//! Processes of a broker: started on the loopback, looked at, killed, and started again on what they have left.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use freshet_bench_load::{Memory, ProcessIo, Usage, process_io, process_usage, resident_bytes, whole_resident_bytes};

use crate::cgroup::Cgroup;

const STARTS_WITHIN: Duration = Duration::from_secs(120);
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Below those that connections get.
const PORTS: Range<u16> = 20_000..32_000;
const LOOK: Duration = Duration::from_millis(5);

/// A folder for one broker, which goes with it.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Makes one in `base`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(base: &Path) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("freshet-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Clients connect to it.
    Clients,
    /// It is behind those.
    Storage,
}

/// How to start a process.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) role: Role,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Where it takes connections once it is there; none: its first line says so.
    pub(crate) address: Option<SocketAddr>,
    /// Where its output goes; none: nowhere.
    pub(crate) log: Option<PathBuf>,
}

#[derive(Debug)]
struct Part {
    launch: Launch,
    child: Child,
}

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Running {
    parts: Vec<Part>,
    addresses: Vec<SocketAddr>,
    /// Where its storage says what it counts; none: it does not.
    metrics: Option<SocketAddr>,
    scratch: Option<Scratch>,
    /// Behind the processes in it, which end first.
    cgroup: Option<Cgroup>,
}

impl Running {
    /// Starts a broker of these processes, one after the other.
    ///
    /// # Errors
    /// When one does not come up.
    pub(crate) fn start(
        launches: Vec<Launch>,
        metrics: Option<SocketAddr>,
        scratch: Option<Scratch>,
    ) -> anyhow::Result<Self> {
        let mut running = Self {
            parts: Vec::new(),
            addresses: Vec::new(),
            metrics,
            scratch,
            cgroup: Cgroup::new(),
        };
        running.start_parts(launches)?;
        Ok(running)
    }

    /// Kills all processes at once.
    pub(crate) fn kill(&mut self) {
        for part in &mut self.parts {
            part.kill();
        }
    }

    /// Starts the processes again, at the same addresses and on the same files, after [`Self::kill`].
    ///
    /// # Errors
    /// When one does not come up.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        let launches = self.parts.drain(..).map(|part| part.launch.clone()).collect();
        self.addresses.clear();
        self.start_parts(launches)
    }

    /// A file or folder of it.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        let scratch = self.scratch.as_ref().context("a broker without a folder")?;
        Ok(scratch.path(name))
    }

    /// What its storage counts.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn metrics(&self) -> anyhow::Result<Option<crate::metrics::Metrics>> {
        self.metrics.map(crate::metrics::Metrics::read).transpose()
    }

    /// Resident memory of its processes, with the pages of files in it.
    ///
    /// # Errors
    /// When one has ended.
    pub(crate) fn whole_resident_bytes(&self) -> anyhow::Result<u64> {
        let pids = self.parts.iter().map(|part| part.child.id());
        pids.map(whole_resident_bytes).sum()
    }

    /// What its processes have read from files and written to disks.
    ///
    /// # Errors
    /// When one has ended.
    pub(crate) fn io(&self) -> anyhow::Result<ProcessIo> {
        self.parts.iter().try_fold(ProcessIo::default(), |sum, part| {
            let io = process_io(part.child.id())?;
            Ok(ProcessIo {
                read_bytes: sum.read_bytes + io.read_bytes,
                written_bytes: sum.written_bytes + io.written_bytes,
            })
        })
    }

    fn start_parts(&mut self, launches: Vec<Launch>) -> anyhow::Result<()> {
        for launch in launches {
            let (part, address) = Part::start(launch, self.cgroup.as_ref())?;
            if part.launch.role == Role::Clients {
                self.addresses.push(address);
            }
            self.parts.push(part);
        }
        Ok(())
    }
}

impl freshet_bench_load::Broker for Running {
    fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for part in &self.parts {
            let of_process = process_usage(part.child.id())?;
            match part.launch.role {
                Role::Clients => {
                    usage.proxy_ns += of_process.cpu_ns;
                    usage.proxy_switches += of_process.switches;
                }
                Role::Storage => usage.storage_ns += of_process.cpu_ns,
            }
        }
        Ok(usage)
    }

    fn memory(&self) -> anyhow::Result<Memory> {
        let mut memory = Memory {
            cgroup_bytes: self.cgroup.as_ref().map(Cgroup::bytes).transpose()?,
            ..Memory::default()
        };
        for part in &self.parts {
            let bytes = resident_bytes(part.child.id())?;
            match part.launch.role {
                Role::Clients => memory.proxy_bytes += bytes,
                Role::Storage => memory.storage_bytes += bytes,
            }
        }
        Ok(memory)
    }
}

impl Part {
    /// Starts the process and waits until it listens.
    fn start(launch: Launch, cgroup: Option<&Cgroup>) -> anyhow::Result<(Self, SocketAddr)> {
        let output = |log: &Option<PathBuf>| -> anyhow::Result<Stdio> {
            let Some(log) = log else { return Ok(Stdio::null()) };
            Ok(OpenOptions::new().create(true).append(true).open(log)?.into())
        };
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).stdin(Stdio::piped());
        command.stderr(output(&launch.log)?);
        command.stdout(match launch.address {
            Some(_) => output(&launch.log)?,
            None => Stdio::piped(),
        });
        let child = command
            .spawn()
            .with_context(|| format!("{} does not start", launch.program.display()))?;
        let mut part = Self { launch, child };
        if let Some(cgroup) = cgroup {
            cgroup.add(part.child.id())?;
        }
        let address = match part.launch.address {
            Some(address) => part.await_listening(address)?,
            None => part.read_address()?,
        };
        Ok((part, address))
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a port is looked at until it listens, with a deadline"
    )]
    fn await_listening(&mut self, address: SocketAddr) -> anyhow::Result<SocketAddr> {
        let program = self.launch.program.display();
        let until = Instant::now() + STARTS_WITHIN;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!(
                    "{program} ended with {status}: {}",
                    last_lines(self.launch.log.as_deref())
                );
            }
            anyhow::ensure!(Instant::now() < until, "{program} does not listen");
            std::thread::sleep(LOOK);
        }
        Ok(address)
    }

    fn read_address(&mut self) -> anyhow::Result<SocketAddr> {
        let stdout = self.child.stdout.take().context("the child has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let no_address = || format!("no address in `{line}`");
        let (_, address) = line.split_once("mqtt://").with_context(no_address)?;
        let end = address.find(|c: char| !"0123456789.:".contains(c));
        address[..end.unwrap_or(address.len())].parse().with_context(no_address)
    }

    fn kill(&mut self) {
        // Fails only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Part {
    #[allow(
        clippy::disallowed_methods,
        reason = "a process is looked at until it ends, with a deadline"
    )]
    fn drop(&mut self) {
        // A Go program removes what it has stored when its standard input ends.
        if self.child.stdin.take().is_some() && self.launch.address.is_none() {
            let until = Instant::now() + ENDS_WITHIN;
            while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(LOOK);
            }
        }
        self.kill();
    }
}

/// A port of the loopback that nobody has, for a process that cannot choose one, or must have it again. It is none that
/// the system gives to connections, which might have it when the process comes for it.
///
/// # Errors
/// When there is none.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    static TURN: AtomicU32 = AtomicU32::new(0);
    // Measurements beside each other begin elsewhere.
    let begin = std::process::id().wrapping_mul(37);
    for _ in PORTS {
        let turn = begin.wrapping_add(TURN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(turn % u32::from(PORTS.end - PORTS.start))?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
    anyhow::bail!("no free port in {PORTS:?}")
}

fn last_lines(log: Option<&Path>) -> String {
    let text = log.and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// Writes a file that a process is started with.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut written = File::create(file).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(written.write_all(text.as_bytes())?)
}
