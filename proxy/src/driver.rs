//! The workers' threads: when a turn begins.
//!
//! A worker's epoll set is one readiness source of a current-thread tokio runtime, on which the streams to storage run
//! too, so that no batch crosses a thread (`docs/architecture.md` has the measurement). What a turn does is in [`turn`].
//! Leaves out who deals connections (`crate::listeners`) and who asks for reports (`crate::metrics`).

mod awake;
mod lingering;
mod report;
mod seat;
mod sockets;
mod turn;

use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use freshet_proxy_core::exchange::WorkerId;
use freshet_proxy_core::worker::Worker;
use freshet_storage_contract::MonotonicMs;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Sleep;

pub use report::{LinkReport, TurnSeconds, WorkerReport};
pub(crate) use seat::{LinkElsewhere, LinkHere, OtherWorker, Seat};

use crate::clock::Clock;
use crate::control::Control;
use crate::listeners::ListenerNames;
use crate::mailbox::Sleeper;
use awake::Awake;
use sockets::Sockets;
use turn::{Flow, Turn};

/// How long the streams to storage have to end in order.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// What a worker's thread is given.
pub(crate) struct WorkerParts {
    pub(crate) id: WorkerId,
    pub(crate) worker: Worker,
    pub(crate) seat: Seat,
    pub(crate) sleeper: Arc<Sleeper>,
    pub(crate) control: mpsc::Receiver<Control>,
    pub(crate) listener_names: ListenerNames,
}

/// Runs a worker on this thread until it is told to stop. `parts` are made here, because not all of them may change
/// threads.
///
/// # Errors
/// When the epoll set or the runtime cannot be made, or the epoll set fails.
pub(crate) fn run_worker(clock: Clock, parts: impl FnOnce() -> anyhow::Result<WorkerParts>) -> anyhow::Result<()> {
    let awake = Awake::default();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    awake.watch(&mut builder, clock);
    let runtime = builder.enable_all().build().context("no runtime for a worker")?;
    runtime.block_on(async {
        let parts = parts()?;
        let sockets = Sockets::new(parts.sleeper.bell()).context("no epoll set for a worker")?;
        let sleeper = parts.sleeper;
        let mut turn = Turn::new(
            parts.id,
            parts.worker,
            sockets,
            parts.seat,
            parts.control,
            parts.listener_names,
        );
        let epoll = watch(
            turn.epoll()
                .try_clone_to_owned()
                .context("no descriptor for a worker")?,
        )?;
        let mut alarm = Alarm::new(clock);
        loop {
            let began = poll_fn(|cx| {
                let began = Instant::now();
                turn.wake_up(awake.since(), clock.at(began));
                poll_ready(cx, &mut turn, &epoll, &sleeper, &mut alarm, clock.at(began)).map_ok(|()| began)
            })
            .await?;
            let flow = turn.run(clock.at(began));
            turn.observe(began.elapsed());
            if flow == Flow::Stop {
                break;
            }
            if turn.must_go_on() {
                // The streams' tasks share this thread.
                tokio::task::yield_now().await;
            }
        }
        // Dropped, the streams end in order; their tasks say so before the runtime goes.
        drop(turn);
        tokio::time::sleep(LAST_WORDS).await;
        Ok(())
    })
}

/// Gives everything that is ready to the core; is ready itself when a turn has begun.
///
/// # Errors
/// When the epoll set fails.
fn poll_ready(
    cx: &mut Context<'_>,
    turn: &mut Turn,
    epoll: &AsyncFd<OwnedFd>,
    sleeper: &Sleeper,
    alarm: &mut Alarm,
    now: MonotonicMs,
) -> Poll<std::io::Result<()>> {
    sleeper.wake_up();
    let mut began = turn.poll_storage(cx, now);
    if let Poll::Ready(ready) = epoll.poll_read_ready(cx) {
        let mut ready = ready?;
        // Cleared only once the set has been seen empty, or a wake would be lost.
        if !turn.read_ready(now)? {
            ready.clear_ready();
        }
        began = true;
    } else {
        turn.nothing_is_ready(now);
    }
    began |= turn.must_go_on();
    if !began {
        sleeper.fall_asleep();
        began = turn.has_mail();
    }
    if began || alarm.poll(cx, turn.next_deadline(), now) {
        Poll::Ready(Ok(()))
    } else {
        Poll::Pending
    }
}

/// Registers a descriptor with the runtime of this thread.
pub(crate) fn watch(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd that moves in is what that one asks for"
    )]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// The timer of a worker: set anew only when the deadline has moved forward.
struct Alarm {
    clock: Clock,
    sleep: Option<Pin<Box<Sleep>>>,
    set_to: MonotonicMs,
}

impl Alarm {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            sleep: None,
            set_to: MonotonicMs(u64::MAX),
        }
    }

    /// Whether `deadline` has come; otherwise wakes `cx` when it may have.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<MonotonicMs>, now: MonotonicMs) -> bool {
        let Some(deadline) = deadline else { return false };
        if deadline <= now {
            return true;
        }
        // An alarm that rings too early costs a look; setting it in each turn would cost every turn.
        let is_set = self.set_to <= deadline && self.set_to > now;
        let at = self.clock.instant(deadline).into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if !is_set {
            sleep.as_mut().reset(at);
            self.set_to = deadline;
        }
        if sleep.as_mut().poll(cx).is_ready() {
            // It has rung between the clock's reading and now.
            self.set_to = MonotonicMs(u64::MAX);
            return true;
        }
        false
    }
}
