//! The threads of a log: the one that writes, and the one that clears up beside it.

use std::{
    collections::VecDeque,
    io, process,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use tracing::{error, warn};

use super::{
    CommitLog, Durable, LogHandle, LogOptions,
    appender::{AppendError, Appended, Appender, max_record_bytes},
    keeper::{Keeper, Work},
    queue::{Bounds, Queue},
    room::Room,
    segments::Segments,
    stats::Counters,
};
use crate::{disk::Disk, error::FatalError, fault_points::reach, planted::planted};

type OnDurable = Box<dyn FnMut(Durable) + Send>;
type OnFatal = Box<dyn FnOnce(FatalError) + Send>;

/// Ends the process at once, as programs have to when a write or a flush has failed: what the kernel holds may not be
/// what is on disk, and nothing that happens from now on may be acknowledged. The next start reads what is there.
pub fn abort_process(failure: FatalError) {
    error!(error = %failure, "the disk failed: the process ends, nothing that was not flushed was acknowledged");
    drop(failure);
    process::abort();
}

/// A log that is written.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) queue: Arc<Queue>,
    pub(super) segments: Arc<Segments>,
    pub(super) room: Arc<Room>,
    pub(super) counters: Arc<Counters>,
    pub(super) work: Arc<Work>,
    pub(super) torn_bytes: u64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    pub(super) fn stop(&self) {
        self.queue.end();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // The writer first: the keeper may still have to make room for it.
        for thread in threads.drain(..) {
            let _ = thread.join(); // one that panicked has said so
            self.work.end();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.end();
        self.work.end();
    }
}

/// Whoever fails first says so.
#[derive(Clone)]
struct Failure {
    on_fatal: Arc<Mutex<Option<OnFatal>>>,
    queue: Arc<Queue>,
}

impl Failure {
    fn raise(&self, failure: FatalError) {
        self.queue.ended();
        let hook = self.on_fatal.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            hook(failure);
        }
    }
}

/// Starts the threads of a log.
///
/// # Errors
/// The system has no thread.
pub(super) fn start(log: CommitLog, on_durable: OnDurable, on_fatal: OnFatal) -> io::Result<LogHandle> {
    let recovery = log.recovery().clone();
    let CommitLog {
        directory,
        options,
        segments,
        appender,
        ..
    } = log;
    let bounds = Bounds {
        records: options.queue_records,
        bytes: options.queue_bytes,
        record_bytes: max_record_bytes(options.segment_bytes),
    };
    let disk = directory.disk.clone();
    let running = Arc::new(Running {
        queue: Arc::new(Queue::new(bounds, recovery.last.iter().copied().collect())),
        room: Arc::new(Room::new(
            disk.clone(),
            segments.clone(),
            options.segment_bytes,
            options.reserve_bytes,
        )),
        segments,
        counters: Arc::default(),
        work: Arc::default(),
        torn_bytes: recovery.torn_bytes,
        threads: Mutex::default(),
    });
    let failure = Failure {
        on_fatal: Arc::new(Mutex::new(Some(on_fatal))),
        queue: running.queue.clone(),
    };
    let writer = Writer {
        appender,
        queue: running.queue.clone(),
        segments: running.segments.clone(),
        room: running.room.clone(),
        counters: running.counters.clone(),
        work: running.work.clone(),
        failure: failure.clone(),
    };
    let writer = thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || writer.run(on_durable))?;
    let keeper = {
        let (work, segments) = (running.work.clone(), running.segments.clone());
        let (room, queue) = (running.room.clone(), running.queue.clone());
        let keep = move || run_keeper(&*disk, &options, &work, &segments, &room, &queue, &failure);
        thread::Builder::new().name("log-keeper".to_owned()).spawn(keep)?
    };
    running.work.look();
    running
        .threads
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend([writer, keeper]);
    Ok(LogHandle { running })
}

struct Writer {
    appender: Appender,
    queue: Arc<Queue>,
    segments: Arc<Segments>,
    room: Arc<Room>,
    counters: Arc<Counters>,
    work: Arc<Work>,
    failure: Failure,
}

impl Writer {
    /// Gathers, writes, flushes, reports, until the end.
    fn run(mut self, mut on_durable: OnDurable) {
        // Also when a callback panics: who appends must not wait for ever.
        let _ended = EndsWith(self.queue.clone());
        let mut pending = VecDeque::new();
        while self.queue.take(&mut pending) {
            let began = Instant::now();
            if planted!(ReportedBeforeFlush) {
                let positions = pending.iter().map(|record| (record.shard, record.position)).collect();
                let mark = self.appender.mark();
                on_durable(Durable { mark, positions });
            }
            match self.appender.append(&mut pending) {
                Ok(appended) => self.report(began, appended, &mut on_durable),
                Err(AppendError::Full(error)) => {
                    warn!(%error, "the disk is full: the log waits for room, nothing is acknowledged meanwhile");
                    self.work.look();
                    if !self.queue.wait_for_room() {
                        return; // nobody was told that what waits is there
                    }
                }
                Err(AppendError::Fatal(error)) => return self.failure.raise(error),
            }
        }
        match self.appender.append_mark() {
            Ok(()) => {}
            Err(AppendError::Full(error)) => warn!(%error, "the log could not be closed in order"),
            Err(AppendError::Fatal(error)) => self.failure.raise(error),
        }
    }

    fn report(&self, began: Instant, appended: Appended, on_durable: &mut OnDurable) {
        let Appended {
            durable,
            records,
            record_bytes,
            frame_bytes,
        } = appended;
        self.counters
            .flushed(began.elapsed(), records, record_bytes, frame_bytes);
        self.queue.done(records, record_bytes);
        self.room.look();
        if self.segments.spares() == 0 {
            self.work.look();
        }
        on_durable(durable);
        reach("reported");
    }
}

struct EndsWith(Arc<Queue>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.ended();
    }
}

fn run_keeper(
    disk: &dyn Disk,
    options: &LogOptions,
    work: &Work,
    segments: &Segments,
    room: &Room,
    queue: &Queue,
    failure: &Failure,
) {
    let keeper = Keeper {
        disk,
        segments,
        segment_bytes: options.segment_bytes,
        spare_segments: options.spare_segments,
    };
    while let Some(through) = work.wait() {
        let kept = keeper.release(&through).and_then(|released| {
            if released > 0 {
                room.look();
                queue.room_made();
            }
            keeper.make_spares(room)
        });
        if let Err(error) = kept {
            return failure.raise(error);
        }
    }
}
