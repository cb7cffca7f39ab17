//! Driver A: the worker's epoll set is one `AsyncFd` of a current-thread tokio runtime on which tonic runs too, so that
//! no batch crosses a thread.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use rustix::event::Timespec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_stream::Stream as _;
use tonic::Streaming;

use crate::batch::Batch;
use crate::storage;
use crate::worker::Worker;

/// Only looks: the runtime does the waiting.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Batches of storage handled in one turn, so that sockets get theirs.
const BATCHES_PER_TURN: usize = 16;

/// Runs the worker on this thread until storage is gone.
///
/// # Errors
/// When storage cannot be reached or goes, or the epoll set fails.
pub(crate) fn run(mut worker: Worker, storage: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stream, mut returned) = storage::open(storage).await?;
        let epoll: OwnedFd = BorrowedFd::try_clone_to_owned(&worker.epoll())?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd that moves in is what that one asks for"
        )]
        let sockets = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        loop {
            poll_fn(|cx| poll_turn(cx, &mut worker, &sockets, &mut returned)).await?;
            worker.open_mail();
            worker.finish_turn();
            storage::hand_over(&mut worker, &stream)?;
            if worker.must_go_on() {
                // The stream's tasks share this thread.
                tokio::task::yield_now().await;
            }
        }
    })
}

/// Runs what is ready of both sources; is ready itself when a turn has begun.
fn poll_turn(
    cx: &mut Context<'_>,
    worker: &mut Worker,
    sockets: &AsyncFd<OwnedFd>,
    returned: &mut Streaming<Batch>,
) -> Poll<anyhow::Result<()>> {
    worker.wake_up();
    let mut began = false;
    for _ in 0..BATCHES_PER_TURN {
        match Pin::new(&mut *returned).poll_next(cx) {
            Poll::Ready(Some(batch)) => worker.receive(&batch.context("the storage stream broke")?),
            Poll::Ready(None) => return Poll::Ready(Err(anyhow::anyhow!("the storage stream is gone"))),
            Poll::Pending => break,
        }
        began = true;
    }
    match sockets.poll_read_ready(cx) {
        Poll::Ready(ready) => {
            let mut ready = ready?;
            // Cleared only once the set has been seen empty, or a wake would be lost.
            if !worker.poll_sockets(Some(&NO_WAIT))? {
                ready.clear_ready();
            }
            began = true;
        }
        Poll::Pending if worker.must_go_on() => {
            worker.poll_sockets(Some(&NO_WAIT))?;
            began = true;
        }
        Poll::Pending => {}
    }
    if began || !worker.fall_asleep() {
        Poll::Ready(Ok(()))
    } else {
        Poll::Pending
    }
}
