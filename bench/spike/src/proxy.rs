//! The proxy process: starts workers with the chosen driver and deals connections to the least loaded.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use rustls::ServerConfig;

use crate::counters::Counters;
use crate::driver_epoll::Line;
use crate::mailbox::{self, Address, Mail};
use crate::worker::{Parts, Worker};
use crate::{driver_async_fd, driver_epoll, tls};

/// Which loop drives the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Driver {
    /// A: the epoll set inside a tokio runtime that carries the storage stream too.
    AsyncFd,
    /// C: a plain epoll loop beside a tokio thread.
    Epoll,
}

impl Driver {
    /// The letter used in tables.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::AsyncFd => 'A',
            Self::Epoll => 'C',
        }
    }
}

/// What the proxy process is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long, value_enum)]
    pub(crate) driver: Driver,
    /// Worker threads, 1 to 64.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,
    /// Address of the storage process.
    #[arg(long)]
    pub(crate) storage: SocketAddr,
    /// Speak TLS 1.3 with clients.
    #[arg(long)]
    pub(crate) tls: bool,
}

struct Seat {
    address: Address,
    open_connections: Arc<AtomicUsize>,
}

/// Serves until a part fails. `announce` gets the listener's address, and the counters for the process's last words.
///
/// # Errors
/// When the listener, an epoll set or storage fails.
pub(crate) fn run(options: &Options, announce: impl FnOnce(SocketAddr, Vec<Arc<Counters>>)) -> anyhow::Result<()> {
    let tls = if options.tls { Some(tls::server_config()?) } else { None };
    let (seats, parts) = lay_out(usize::from(options.workers), tls.as_ref())?;
    let listener = listen()?;
    announce(
        listener.local_addr()?,
        parts.iter().map(|part| Arc::clone(&part.counters)).collect(),
    );

    let (failed, failure) = mpsc::channel();
    match options.driver {
        Driver::AsyncFd => start_async_fd(parts, options.storage, &failed)?,
        Driver::Epoll => start_epoll(parts, options.storage, &failed)?,
    }
    start_thread(&failed, "acceptor", move || accept(&listener, &seats))?;
    drop(failed);
    failure.recv().context("all threads ended in silence")?
}

fn lay_out(workers: usize, tls: Option<&Arc<ServerConfig>>) -> anyhow::Result<(Vec<Seat>, Vec<Parts>)> {
    let (addresses, mailboxes): (Vec<_>, Vec<_>) = (0..workers)
        .map(|_| mailbox::open())
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .unzip();
    let parts: Vec<_> = (0..)
        .zip(mailboxes)
        .map(|(index, mailbox)| Parts {
            index,
            workers: addresses.clone(),
            mailbox,
            open_connections: Arc::default(),
            counters: Arc::default(),
            tls: tls.cloned(),
        })
        .collect();
    let seats = addresses
        .into_iter()
        .zip(&parts)
        .map(|(address, part)| Seat {
            address,
            open_connections: Arc::clone(&part.open_connections),
        })
        .collect();
    Ok((seats, parts))
}

fn start_async_fd(parts: Vec<Parts>, storage: SocketAddr, failed: &Failures) -> anyhow::Result<()> {
    for part in parts {
        start_thread(failed, "worker", move || {
            driver_async_fd::run(Worker::new(part)?, storage)
        })?;
    }
    Ok(())
}

fn start_epoll(parts: Vec<Parts>, storage: SocketAddr, failed: &Failures) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for part in parts {
        let (sender, stream) = mpsc::sync_channel(1);
        let address = part.workers[part.index].clone();
        lines.push(Line {
            address,
            counters: Arc::clone(&part.counters),
            stream: sender,
        });
        start_thread(failed, "worker", move || driver_epoll::run(Worker::new(part)?, &stream))?;
    }
    start_thread(failed, "storage", move || driver_epoll::run_storage(lines, storage))
}

type Failures = mpsc::Sender<anyhow::Result<()>>;

fn start_thread(
    failed: &Failures,
    name: &str,
    body: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let failed = failed.clone();
    // Nobody listens any more only when the process is ending.
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(failed.send(body())))?;
    Ok(())
}

fn listen() -> anyhow::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, listen, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    // The standard library's backlog of 128 would make thousands of connects at once wait for retransmissions.
    listen(&socket, 4096)?;
    Ok(TcpListener::from(socket))
}

fn accept(listener: &TcpListener, seats: &[Seat]) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let seat = seats
            .iter()
            .min_by_key(|seat| seat.open_connections.load(Ordering::Relaxed))
            .context("there is no worker")?;
        seat.open_connections.fetch_add(1, Ordering::Relaxed);
        seat.address
            .post_blocking(Mail::Connection(stream.into()))
            .context("the worker is gone")?;
    }
}
