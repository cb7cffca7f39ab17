//! Mailboxes between threads: one lock per turn, one system call only for a sleeper.
//!
//! Used between workers and by the tasks of the admin runtime that tell workers something. A worker that is about to
//! wait announces it ([`Sleeper::fall_asleep`]) and then looks into its mailboxes once more; whoever posts looks at the
//! announcement after posting. Leaves out what the letters mean.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// A thread that waits in its epoll set, and the bell in that set. The bell is watched edge-triggered and never read:
/// each write is an edge.
#[derive(Debug)]
pub(crate) struct Sleeper {
    is_asleep: AtomicBool,
    bell: OwnedFd,
}

impl Sleeper {
    pub(crate) fn new() -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            is_asleep: AtomicBool::new(false),
            bell,
        })
    }

    /// What the thread's epoll set watches.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Announces that the thread is about to wait. It looks into its mailboxes afterwards: what was posted before rang
    /// no bell.
    pub(crate) fn fall_asleep(&self) {
        self.is_asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back, so that nobody rings for a thread that is awake.
    pub(crate) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    /// Wakes the thread if it waits. Called after what it is woken for can be seen.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        // The load first: while the thread is awake the flag stays a shared cache line.
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            // A counter that is full (2^64 - 2 wakes) would still have been an edge for each of them.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }
}

/// A mailbox of at most `capacity` letters from one thread to another.
pub(crate) fn mailbox<T>(capacity: usize, sender: Arc<Sleeper>, receiver: Arc<Sleeper>) -> (Outlet<T>, Inlet<T>) {
    let shared = Arc::new(Shared {
        letters: Mutex::new(Vec::new()),
        count: AtomicUsize::new(0),
        capacity,
        sender_waits: AtomicBool::new(false),
        sender,
        receiver,
    });
    (Outlet(Arc::clone(&shared)), Inlet(shared))
}

#[derive(Debug)]
struct Shared<T> {
    letters: Mutex<Vec<T>>,
    /// `letters.len()`, for a look without the lock.
    count: AtomicUsize,
    capacity: usize,
    /// The sender keeps letters that had no room.
    sender_waits: AtomicBool,
    sender: Arc<Sleeper>,
    receiver: Arc<Sleeper>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // Nothing panics while it holds the lock; if it did, the letters would still be whole.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The posting side.
#[derive(Debug)]
pub(crate) struct Outlet<T>(Arc<Shared<T>>);

/// The receiving side.
#[derive(Debug)]
pub(crate) struct Inlet<T>(Arc<Shared<T>>);

impl<T> Outlet<T> {
    /// Posts as many of `letters` as there is room for, oldest first; the rest stays. The sender is woken when there is
    /// room again.
    pub(crate) fn post(&self, letters: &mut Vec<T>) {
        if letters.is_empty() {
            return;
        }
        let mut posted = self.0.lock();
        let room = self.0.capacity.saturating_sub(posted.len());
        if posted.is_empty() && letters.len() <= room {
            // Exchanged, so that both sides' vectors keep their capacity.
            std::mem::swap(&mut *posted, letters);
        } else {
            posted.extend(letters.drain(..room.min(letters.len())));
        }
        self.0.count.store(posted.len(), Ordering::SeqCst);
        if !letters.is_empty() {
            self.0.sender_waits.store(true, Ordering::SeqCst);
        }
        drop(posted);
        self.0.receiver.ring();
    }

    /// Whether posting would bring something across.
    pub(crate) fn has_room(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) < self.0.capacity
    }
}

impl<T> Inlet<T> {
    /// Takes all letters, behind those in `into`.
    pub(crate) fn collect(&self, into: &mut Vec<T>) {
        if self.is_empty() {
            return;
        }
        let mut posted = self.0.lock();
        if into.is_empty() {
            std::mem::swap(&mut *posted, into);
        } else {
            into.append(&mut posted);
        }
        self.0.count.store(0, Ordering::SeqCst);
        let sender_waits = self.0.sender_waits.swap(false, Ordering::SeqCst);
        drop(posted);
        if sender_waits {
            self.0.sender.ring();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn pair(capacity: usize) -> (Outlet<u32>, Inlet<u32>, Arc<Sleeper>, Arc<Sleeper>) {
        let sender = Arc::new(Sleeper::new().unwrap());
        let receiver = Arc::new(Sleeper::new().unwrap());
        let (outlet, inlet) = mailbox(capacity, Arc::clone(&sender), Arc::clone(&receiver));
        (outlet, inlet, sender, receiver)
    }

    /// Whether the bell was rung since the last look.
    fn was_rung(sleeper: &Sleeper) -> bool {
        rustix::io::read(&sleeper.bell, &mut [0; 8]).is_ok()
    }

    #[test]
    fn only_a_sleeper_is_rung_for_and_only_once() {
        let (outlet, _inlet, _sender, receiver) = pair(10);
        outlet.post(&mut vec![1]);
        assert!(!was_rung(&receiver));
        receiver.fall_asleep();
        outlet.post(&mut vec![2]);
        assert!(was_rung(&receiver));
        outlet.post(&mut vec![3]);
        assert!(!was_rung(&receiver));
    }

    #[test]
    fn what_has_no_room_stays_in_order_and_its_sender_is_woken_when_there_is_some() {
        let (outlet, inlet, sender, _receiver) = pair(3);
        let mut letters = vec![1, 2];
        outlet.post(&mut letters);
        letters.extend([3, 4, 5]);
        outlet.post(&mut letters);
        assert_eq!(letters, [4, 5]);
        assert!(!outlet.has_room());
        sender.fall_asleep();
        let mut read = Vec::new();
        inlet.collect(&mut read);
        assert!(was_rung(&sender));
        outlet.post(&mut letters);
        inlet.collect(&mut read);
        assert_eq!(read, [1, 2, 3, 4, 5]);
        assert!(inlet.is_empty());
    }

    #[test]
    fn no_wake_is_lost_between_two_threads_that_sleep_whenever_they_can() {
        const LETTERS: u32 = 100_000;
        let (outlet, inlet, sender, receiver) = pair(7);
        let deadline = Instant::now() + Duration::from_secs(60);
        let wait = move |sleeper: &Sleeper| {
            assert!(Instant::now() < deadline, "a wake was lost");
            let mut fds = [rustix::event::PollFd::new(&sleeper.bell, rustix::event::PollFlags::IN)];
            let one_second = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            let rung = rustix::event::poll(&mut fds, Some(&one_second)).unwrap();
            assert!(rung == 1, "a wake was lost");
            let _ = was_rung(sleeper);
        };
        let posting = std::thread::spawn(move || {
            let mut letters = Vec::new();
            let mut next = 0;
            while next < LETTERS || !letters.is_empty() {
                sender.wake_up();
                while letters.len() < 5 && next < LETTERS {
                    letters.push(next);
                    next += 1;
                }
                outlet.post(&mut letters);
                if !letters.is_empty() {
                    sender.fall_asleep();
                    if !outlet.has_room() {
                        wait(&sender);
                    }
                }
            }
        });
        let mut read = Vec::new();
        while read.len() < LETTERS as usize {
            receiver.wake_up();
            inlet.collect(&mut read);
            receiver.fall_asleep();
            if inlet.is_empty() && read.len() < LETTERS as usize {
                wait(&receiver);
            }
        }
        posting.join().unwrap();
        assert!(read.into_iter().eq(0..LETTERS));
    }
}
