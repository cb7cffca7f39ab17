//! The broker under test: processes on ports and a folder that stay the same through every restart.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::pause::pause;

/// How long a process may take until it listens, and until it has ended in order.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Tells a process, if it is built for that, where to end: `NAME:N`, the Nth time it gets there; or to name the places.
const FAULT_POINT: &str = "FRESHET_FAULT_POINT";
/// What it says to have the places named.
const LIST: &str = "list";
/// Tells a process, if it is built for that, which mistake to make.
const PLANTED_FAULT: &str = "FRESHET_PLANTED_FAULT";
/// Below those that Linux gives to connections.
const PORTS: Range<u16> = 10_000..30_000;
/// UID that proxy and storage node have in common.
const CLUSTER_UID: &str = "checker";

/// What the processes are.
#[derive(Debug, Clone)]
pub enum Setup {
    /// `freshet standalone`.
    Standalone {
        /// The program.
        freshet: PathBuf,
    },
    /// A proxy and a storage node.
    Apart {
        /// `freshet-proxy`.
        proxy: PathBuf,
        /// `freshet-storage-node`.
        storage: PathBuf,
    },
}

/// Where they leave what they write.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Configuration and logs.
    pub scratch: PathBuf,
    /// What is to survive. None: memory has to do.
    pub data: Option<PathBuf>,
}

/// The broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) parts: Vec<Part>,
}

/// One process of it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Whether its program can be built with places at which it ends: those that keep something can.
    pub(crate) has_fault_points: bool,
    /// The mistake that it makes, if it is one of its own.
    planted: Option<String>,
    /// Where it takes connections: that it does says that it is there.
    address: SocketAddr,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Broker {
    /// Starts everything, with a mistake if one is named, and waits until it listens.
    ///
    /// # Errors
    /// A folder that cannot be written, a program that does not start.
    pub(crate) fn start(setup: &Setup, folders: &Folders, planted: Option<&str>) -> anyhow::Result<Self> {
        fs::create_dir_all(&folders.scratch)?;
        let mqtt = free_port()?;
        let parts = match setup {
            Setup::Standalone { freshet } => vec![standalone(freshet, folders, mqtt)?],
            Setup::Apart { proxy, storage } => apart(proxy, storage, folders, mqtt)?,
        };
        let mut broker = Self { address: mqtt, parts };
        for part in &mut broker.parts {
            part.planted = planted.map(str::to_owned);
            part.start(None)?;
        }
        Ok(broker)
    }

    /// The names of all places at which one of the processes can be told to end.
    ///
    /// # Errors
    /// A program that was built without.
    pub(crate) fn fault_points(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for part in self.parts.iter().filter(|part| part.has_fault_points) {
            names.extend(part.fault_points()?);
        }
        Ok(names)
    }
}

impl Part {
    /// Starts the process and waits until it listens.
    pub(crate) fn start(&mut self, fault_point: Option<&str>) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(fault_point) = fault_point {
            command.env(FAULT_POINT, fault_point);
        }
        if let Some(planted) = &self.planted {
            command.env(PLANTED_FAULT, planted);
        }
        let child = command
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&self.address, LOOK_EVERY).is_err() {
            if self.has_ended() && fault_point.is_some() {
                // It got there before it listened.
                return Ok(());
            }
            if self.has_ended() || Instant::now() > until {
                bail!(
                    "{} does not listen on {}; its log is {}",
                    self.name,
                    self.address,
                    self.log.display()
                );
            }
            pause(LOOK_EVERY);
        }
        Ok(())
    }

    /// Asks the program, in another process, for the places at which it can be told to end.
    fn fault_points(&self) -> anyhow::Result<Vec<String>> {
        let mut asked = Command::new(&self.program)
            .args(&self.arguments)
            .env(FAULT_POINT, LIST)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        let until = Instant::now() + PATIENCE;
        // One that was built without begins to serve, or finds that somebody does.
        while asked.try_wait()?.is_none() {
            if Instant::now() > until {
                asked.kill()?;
            }
            pause(LOOK_EVERY);
        }
        let said = asked.wait_with_output()?;
        let names: Vec<String> = String::from_utf8(said.stdout)?.lines().map(str::to_owned).collect();
        if !said.status.success() || names.is_empty() {
            bail!(
                "{} names no fault points: it was built without the feature `planted-faults`",
                self.program.display()
            );
        }
        Ok(names)
    }

    /// Whether the process is gone.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .as_mut()
            .is_none_or(|child| matches!(child.try_wait(), Ok(Some(_)) | Err(_)))
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Tells it to stop and waits until it has.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        if !self.ends_within(PATIENCE) {
            bail!("{} does not end on SIGTERM", self.name);
        }
        self.kill();
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while !self.has_ended() {
            if Instant::now() > until {
                return false;
            }
            pause(LOOK_EVERY);
        }
        true
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // One that has ended is noticed by whoever waits for it.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

fn standalone(program: &Path, folders: &Folders, mqtt: SocketAddr) -> anyhow::Result<Part> {
    let manifest = folders.scratch.join("cluster.yaml");
    // A will waits no longer than the run comes to rest.
    fs::write(
        &manifest,
        "apiVersion: freshet.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: checker}\nspec:\n  observability: \
         {logLevel: warn}\n  mqtt: {willGraceOnMove: 1s}\n",
    )?;
    let mut arguments = vec!["standalone".to_owned()];
    arguments.extend(["--listen".to_owned(), mqtt.to_string()]);
    arguments.extend(["--config".to_owned(), text(&manifest)]);
    arguments.extend(["--workers".to_owned(), "2".to_owned()]);
    arguments.extend(data_arguments(folders));
    Ok(Part {
        name: "broker",
        has_fault_points: true,
        planted: None,
        address: mqtt,
        program: program.to_owned(),
        arguments,
        log: folders.scratch.join("broker.log"),
        child: None,
    })
}

fn apart(proxy: &Path, storage: &Path, folders: &Folders, mqtt: SocketAddr) -> anyhow::Result<Vec<Part>> {
    let nodes = free_port()?;
    let config = folders.scratch.join("storage.json");
    let said = json!({"clusterUid": CLUSTER_UID, "willGraceOnMoveMs": 1_000, "logLevel": "warn"});
    serde_json::to_writer(File::create(&config)?, &said)?;
    let mut arguments = vec![
        "--config".to_owned(),
        text(&config),
        "--listen".to_owned(),
        nodes.to_string(),
    ];
    arguments.extend(admin_ports()?);
    arguments.extend(data_arguments(folders));
    let storage = Part {
        name: "storage",
        has_fault_points: true,
        planted: None,
        address: nodes,
        program: storage.to_owned(),
        arguments,
        log: folders.scratch.join("storage.log"),
        child: None,
    };
    let config = folders.scratch.join("proxy.json");
    let said = json!({
        "clusterUid": CLUSTER_UID,
        "storageEndpoints": [nodes.to_string()],
        "listeners": [{"name": "mqtt", "protocol": "mqtt", "port": mqtt.port()}],
        "logLevel": "warn",
        "drainLingerMs": 0,
        "drainTimeoutMs": 2_000,
    });
    serde_json::to_writer(File::create(&config)?, &said)?;
    let mut arguments = vec![
        "--config".to_owned(),
        text(&config),
        "--pod-name".to_owned(),
        "proxy-0".to_owned(),
    ];
    arguments.extend(admin_ports()?);
    let proxy = Part {
        name: "proxy",
        has_fault_points: false,
        planted: None,
        address: mqtt,
        program: proxy.to_owned(),
        arguments,
        log: folders.scratch.join("proxy.log"),
        child: None,
    };
    Ok(vec![storage, proxy])
}

fn data_arguments(folders: &Folders) -> Vec<String> {
    let data = folders.data.iter();
    // Often, so that lives end in the middle of checkpoints, too.
    data.flat_map(|folder| {
        let every_second = ["--checkpoint-seconds".to_owned(), "1".to_owned()];
        ["--data-dir".to_owned(), text(folder)].into_iter().chain(every_second)
    })
    .collect()
}

fn admin_ports() -> anyhow::Result<[String; 4]> {
    let (health, metrics) = (free_port()?.port(), free_port()?.port());
    Ok([
        "--health-port".to_owned(),
        health.to_string(),
        "--metrics-port".to_owned(),
        metrics.to_string(),
    ])
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A port of the loopback that nobody has, and that the processes take at each start. None of those that the system gives to
/// connections: one could have it while a process is away.
fn free_port() -> anyhow::Result<SocketAddr> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Each of these programs begins elsewhere.
    let first = std::process::id().wrapping_mul(257);
    for _ in 0..count {
        let place = first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(place)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no free port among {PORTS:?}")
}
