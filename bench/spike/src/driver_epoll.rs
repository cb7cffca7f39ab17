//! Driver C: a plain epoll loop per worker; one tokio thread carries all workers' batches. A batch goes to that thread
//! through a bounded queue and comes back through the worker's mailbox, whose bell is rung only for a sleeper.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rustix::event::Timespec;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::batch::Batch;
use crate::counters::Counters;
use crate::mailbox::{Address, Mail};
use crate::storage;
use crate::worker::Worker;

const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// What the storage thread needs of one worker.
pub(crate) struct Line {
    pub(crate) address: Address,
    pub(crate) counters: Arc<Counters>,
    /// Where the worker waits for its stream.
    pub(crate) stream: std::sync::mpsc::SyncSender<mpsc::Sender<Batch>>,
}

/// Runs a worker on this thread until storage is gone.
///
/// # Errors
/// When the storage thread has ended or the epoll set fails.
pub(crate) fn run(mut worker: Worker, stream: &std::sync::mpsc::Receiver<mpsc::Sender<Batch>>) -> anyhow::Result<()> {
    let stream = stream.recv().context("the storage thread opened no stream")?;
    loop {
        let wait = if worker.fall_asleep() { None } else { Some(&NO_WAIT) };
        worker.poll_sockets(wait)?;
        worker.wake_up();
        worker.open_mail();
        worker.finish_turn();
        storage::hand_over(&mut worker, &stream)?;
    }
}

/// Runs the storage thread for all workers until storage is gone.
///
/// # Errors
/// When storage cannot be reached or goes.
pub(crate) fn run_storage(lines: Vec<Line>, storage: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut lines_up = tokio::task::JoinSet::new();
        for line in lines {
            let (stream, returned) = storage::open(storage).await?;
            line.stream.send(stream).context("the worker is gone")?;
            lines_up.spawn(return_batches(returned, line.address, line.counters));
        }
        match lines_up.join_next().await {
            Some(ended) => ended?,
            None => anyhow::bail!("there is no worker"),
        }
    })
}

async fn return_batches(
    mut returned: Streaming<Batch>,
    worker: Address,
    counters: Arc<Counters>,
) -> anyhow::Result<()> {
    while let Some(batch) = returned.message().await? {
        let rang = worker
            .post_when_there_is_room(Mail::Returned(batch))
            .await
            .context("the worker is gone")?;
        if rang {
            counters.count_storage_bell();
        }
    }
    anyhow::bail!("the storage stream is gone")
}
