//! The brokers: each a process of its own on the loopback, started anew for each measurement and killed behind it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use freshet_bench_load::{Usage, process_usage, resident_bytes};

const STARTS_WITHIN: Duration = Duration::from_secs(20);
const ENDS_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Freshet in one process.
    Freshet,
    /// Mosquitto as the distribution has it.
    Mosquitto,
    /// Mochi MQTT, a Go library.
    Mochi,
    /// nats-server with its MQTT gateway.
    Nats,
    /// A broker's system calls, and next to nothing else ([`crate::floor`]).
    Floor,
}

impl Kind {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Freshet => "Freshet",
            Self::Mosquitto => "Mosquitto",
            Self::Mochi => "Mochi",
            Self::Nats => "nats-server",
            Self::Floor => "floor",
        }
    }

    /// Its program, if it is one around a Go library.
    pub(crate) fn go_program(self) -> Option<&'static str> {
        match self {
            Self::Mochi => Some("mochi"),
            Self::Nats => Some("nats"),
            Self::Freshet | Self::Mosquitto | Self::Floor => None,
        }
    }

    /// What it says of itself, or what is pinned.
    ///
    /// # Errors
    /// When it is not installed or not built.
    pub(crate) fn version(self) -> anyhow::Result<String> {
        let (program, argument) = match self {
            Self::Freshet => (freshet_program()?, "--version"),
            Self::Mosquitto => (mosquitto_program()?, "-h"),
            Self::Floor => return Ok("the floor".to_owned()),
            Self::Mochi => return pinned("github.com/mochi-mqtt/server/v2"),
            Self::Nats => return pinned("github.com/nats-io/nats-server/v2"),
        };
        let output = Command::new(program).arg(argument).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Starts a broker.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(kind: Kind) -> anyhow::Result<Self> {
        match kind {
            Kind::Freshet => start_and_read_address(
                Command::new(freshet_program()?)
                    .args(["standalone", "--listen", "127.0.0.1:0", "--config"])
                    .arg(configuration("freshet.yaml")),
            ),
            Kind::Mosquitto => start_mosquitto(),
            Kind::Mochi | Kind::Nats => {
                let program = crate::peers::go_program(kind.go_program().unwrap_or_default())?;
                start_and_read_address(&mut Command::new(program))
            }
            Kind::Floor => start_and_read_address(Command::new(std::env::current_exe()?).arg("floor")),
        }
    }
}

impl freshet_bench_load::Broker for Running {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        let process = process_usage(self.child.id())?;
        Ok(Usage {
            proxy_ns: process.cpu_ns,
            storage_ns: 0,
            proxy_switches: process.switches,
        })
    }

    fn resident_bytes(&self) -> anyhow::Result<u64> {
        resident_bytes(self.child.id())
    }
}

impl Drop for Running {
    #[allow(
        clippy::disallowed_methods,
        reason = "a process is looked at until it ends, with a deadline"
    )]
    fn drop(&mut self) {
        // nats-server removes what it has stored when its standard input ends.
        if self.child.stdin.take().is_some() {
            let until = Instant::now() + ENDS_WITHIN;
            while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(LOOK);
            }
        }
        // Fails only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program whose first line says where it listens.
fn start_and_read_address(command: &mut Command) -> anyhow::Result<Running> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("the child has no standard output")?;
    let mut running = Running {
        child,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let (_, address) = line
        .split_once("mqtt://")
        .with_context(|| format!("no address in `{line}`"))?;
    let end = address
        .find(|c: char| !"0123456789.:".contains(c))
        .unwrap_or(address.len());
    running.address = address[..end]
        .parse()
        .with_context(|| format!("no address in `{line}`"))?;
    Ok(running)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a port is looked at until it listens, with a deadline"
)]
fn start_mosquitto() -> anyhow::Result<Running> {
    // It takes its port from the command line and cannot choose one.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let text = std::fs::read_to_string(configuration("mosquitto.conf"))?;
    let file = std::env::temp_dir().join(format!("freshet-bench-mosquitto-{}.conf", std::process::id()));
    std::fs::write(&file, format!("listener {port} 127.0.0.1\n{text}"))?;
    let child = Command::new(mosquitto_program()?)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut running = Running {
        child,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
    };
    let until = Instant::now() + STARTS_WITHIN;
    while TcpStream::connect(running.address).is_err() {
        if let Some(status) = running.child.try_wait()? {
            anyhow::bail!("mosquitto ended with {status}");
        }
        anyhow::ensure!(Instant::now() < until, "mosquitto does not listen");
        std::thread::sleep(LOOK);
    }
    std::fs::remove_file(&file)?;
    Ok(running)
}

/// Name and version of a Go library.
fn pinned(module: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(configuration("go/go.mod"))?;
    let line = text.lines().map(str::trim).find(|line| line.starts_with(module));
    line.map(str::to_owned)
        .with_context(|| format!("no {module} in go.mod"))
}

/// Built beside this program.
fn freshet_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("freshet");
    anyhow::ensure!(
        program.exists(),
        "{} is missing: `cargo build --release --bin freshet` makes it",
        program.display()
    );
    Ok(program)
}

fn mosquitto_program() -> anyhow::Result<PathBuf> {
    let places = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
    let found = places.iter().map(PathBuf::from).find(|place| place.exists());
    found.context("mosquitto is missing: on Debian, `apt-get install mosquitto` installs it")
}

fn configuration(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
