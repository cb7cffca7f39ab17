//! A TCP relay between one client and the broker: it can hold back one direction or all, cut the connection, and tells
//! which packets passed.
//!
//! Every peer of a script has its own. A lost connection or a client that does not acknowledge looks the same for every
//! client library then, and what is checked on the wire does not depend on what a library lets its user see.

mod tap;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::History;
use tap::Tap;
pub(crate) use tap::{Direction, Packet, Wire};

const BUFFER_BYTES: usize = 16 << 10;

/// What the relay does with what it reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everything passes.
    #[default]
    Open,
    /// What the client sends waits; what the broker sends passes.
    HoldClient,
    /// Nothing passes, and neither side learns that the other has gone.
    Frozen,
    /// Both sides lose the connection, and no other comes through.
    Cut,
}

/// A relay that listens; it ends with its value.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) wire: History<Wire>,
    gate: watch::Sender<Gate>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on a port of the system's choice.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn start(broker: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port")?;
        let address = listener.local_addr().context("no address")?;
        let wire = History::default();
        let gate = watch::Sender::new(Gate::Open);
        let task = tokio::spawn(accept(listener, broker, wire.clone(), gate.subscribe()));
        Ok(Self {
            address,
            wire,
            gate,
            task,
        })
    }

    /// Sets what passes from now on.
    pub(crate) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gate.send_replace(Gate::Cut);
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, broker: SocketAddr, wire: History<Wire>, gate: watch::Receiver<Gate>) {
    while let Ok((client, _)) = listener.accept().await {
        if *gate.borrow() == Gate::Cut {
            continue;
        }
        // A broker that is not there shows as a connection that is closed at once.
        if let Ok(broker) = TcpStream::connect(broker).await {
            tokio::spawn(relay(client, broker, wire.clone(), gate.clone()));
        }
    }
}

/// Relays one connection until one side ends it or it is cut.
async fn relay(client: TcpStream, broker: TcpStream, wire: History<Wire>, mut gate: watch::Receiver<Gate>) {
    // Answers must not wait for each other on loopback.
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let version = tap::SharedVersion::default();
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let tap = |direction| Tap::new(direction, version.clone(), wire.clone());
    let mut up = tokio::spawn(pump(from_client, to_broker, tap(Direction::ToBroker), gate.clone()));
    let mut down = tokio::spawn(pump(from_broker, to_client, tap(Direction::ToClient), gate.clone()));
    let cut = async {
        // An error says that the relay is gone, which cuts as well.
        let _ = gate.wait_for(|gate| *gate == Gate::Cut).await;
    };
    tokio::select! {
        () = cut => {
            up.abort();
            down.abort();
        }
        // What the other side sent before the end still passes: a DISCONNECT often comes right before a close.
        _ = &mut up => { let _ = down.await; }
        _ = &mut down => up.abort(),
    }
    wire.add(Wire {
        direction: Direction::ToClient,
        packet: Packet::Closed,
    });
}

/// Copies one direction until it ends; dropping the halves closes them.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut tap: Tap, mut gate: watch::Receiver<Gate>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let direction = tap.direction();
    let passes = |gate: &Gate| match gate {
        Gate::Open | Gate::Cut => true,
        Gate::HoldClient => direction == Direction::ToClient,
        Gate::Frozen => false,
    };
    loop {
        let read = from.read(&mut buffer).await;
        // Also the end of a connection does not pass a closed gate, and nothing passes from the moment of a cut on, whenever
        // this connection learns of it.
        if !gate.wait_for(passes).await.is_ok_and(|gate| *gate != Gate::Cut) {
            return;
        }
        let bytes = match read {
            Ok(0) | Err(_) => return,
            Ok(count) => &buffer[..count],
        };
        // Told before it is sent: who saw an answer finds the question.
        tap.pass(bytes);
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
