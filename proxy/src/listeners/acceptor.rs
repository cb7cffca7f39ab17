//! Accepts connections of one listener and deals each to the worker that has the fewest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;

use crate::capacity::ListenerCount;
use crate::control::{AcceptedConnection, Control, WorkerDoor};

/// Pause when the process or the system is out of something: it is not over at once.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// Connections accepted before other tasks have their turn.
const BATCH: usize = 64;

/// Accepts until the task is aborted.
pub(super) async fn accept_connections(
    listener: AsyncFd<OwnedFd>,
    count: Arc<ListenerCount>,
    workers: Arc<[WorkerDoor]>,
) {
    let mut was_short = false;
    // Workers that have a letter of which they have not been told.
    let mut dealt = vec![false; workers.len()];
    loop {
        let mut ready = match listener.readable().await {
            Ok(ready) => ready,
            // The runtime ends.
            Err(_) => return,
        };
        for _ in 0..BATCH {
            match acceptfrom_with(ready.get_inner(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((descriptor, peer)) => {
                    was_short = false;
                    let peer = peer
                        .and_then(|p| SocketAddr::try_from(p).ok())
                        .map_or(UNKNOWN_PEER, canonical);
                    deal(descriptor, peer, &count, workers.iter().zip(&mut dealt)).await;
                }
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    break;
                }
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    if !std::mem::replace(&mut was_short, true) {
                        tracing::error!(listener = count.name, %error, "connections wait: the system is short");
                    }
                    ring(&workers, &mut dealt);
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
                // What went wrong with one connection before it was accepted.
                Err(_) => {}
            }
        }
        // Once for all: a worker that wakes for each of them costs more than they do.
        ring(&workers, &mut dealt);
        tokio::task::yield_now().await;
    }
}

/// Wakes workers that have been dealt something.
fn ring(workers: &[WorkerDoor], dealt: &mut [bool]) {
    for (worker, dealt) in workers.iter().zip(dealt) {
        if std::mem::take(dealt) {
            worker.ring();
        }
    }
}

async fn deal<'w>(
    descriptor: OwnedFd,
    peer: SocketAddr,
    count: &Arc<ListenerCount>,
    workers: impl Iterator<Item = (&'w WorkerDoor, &'w mut bool)>,
) {
    let Some((worker, dealt)) = workers.min_by_key(|(worker, _)| worker.open()) else {
        return;
    };
    // Over the bound: accepted and closed at once, because what the client speaks is not known yet, and one that is
    // left in the backlog would wait for nothing.
    let Some(permit) = worker.admit(count) else { return };
    let connection = AcceptedConnection {
        descriptor,
        peer,
        permit,
    };
    worker.put(Control::Connection(connection)).await;
    *dealt = true;
}

/// Stands for a peer that has no address of the internet; a TCP listener has no such peers.
const UNKNOWN_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// An IPv4 address that came over an IPv6 socket, as IPv4.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
