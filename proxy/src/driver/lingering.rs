//! Sockets whose connection has ended and whose peer has not closed its side yet.
//!
//! A client that was just told why it is disconnected may still be sending. Closing over bytes that nobody has read
//! resets the connection, and the reset takes the reason back out of the client's hands. So the socket stays for a short
//! while, and what comes is thrown away. Bounded in number and time: beyond, sockets are closed at once.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use freshet_storage_contract::MonotonicMs;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Sockets that linger at once.
const MAX_LINGERING: usize = 1_024;
/// How long a peer has to close its side.
const LINGER: Duration = Duration::from_secs(2);
/// Reads of one event; a peer that sends faster than that is not waited for.
const READS_PER_EVENT: usize = 16;

/// Lingering sockets by index.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    slots: Vec<Option<OwnedFd>>,
    free: Vec<usize>,
    /// In order of time. A slot that was emptied before its time is named by an entry that finds another generation.
    ends: VecDeque<(MonotonicMs, usize, u64)>,
    generations: Vec<u64>,
}

impl Lingering {
    /// Keeps a socket; none: there are too many, and it is closed.
    pub(super) fn add(&mut self, socket: OwnedFd, now: MonotonicMs) -> Option<(usize, BorrowedFd<'_>)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < MAX_LINGERING => {
                self.slots.push(None);
                self.generations.push(0);
                self.slots.len() - 1
            }
            None => return None,
        };
        self.ends.push_back((now.plus(LINGER), index, self.generations[index]));
        let socket: &OwnedFd = self.slots[index].insert(socket);
        Some((index, socket.as_fd()))
    }

    /// Throws away what has come; closes the socket when the peer has closed its side.
    pub(super) fn on_ready(&mut self, index: usize, scratch: &mut [u8]) {
        let Some(Some(socket)) = self.slots.get(index) else {
            return;
        };
        for _ in 0..READS_PER_EVENT {
            match recv(socket, &mut *scratch, RecvFlags::empty()) {
                Ok((0, _)) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => break,
            }
        }
        self.close(index);
    }

    /// Closes those whose time is over.
    pub(super) fn tick(&mut self, now: MonotonicMs) {
        while let Some((_, index, generation)) = self.ends.pop_front_if(|(end, ..)| *end <= now) {
            if self.generations.get(index) == Some(&generation) {
                self.close(index);
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<MonotonicMs> {
        self.ends.front().map(|(end, ..)| *end)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn close(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index)
            && slot.take().is_some()
        {
            self.generations[index] += 1;
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, OwnedFd) {
        let (peer, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (peer, ours.into())
    }

    #[test]
    fn a_socket_stays_until_its_peer_has_closed_its_side() {
        let mut lingering = Lingering::default();
        let (mut peer, ours) = pair();
        let (index, _) = lingering.add(ours, MonotonicMs(0)).unwrap();
        peer.write_all(b"still sending").unwrap();
        lingering.on_ready(index, &mut [0; 4]);
        assert_eq!(lingering.len(), 1);
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        lingering.on_ready(index, &mut [0; 4]);
        assert_eq!(lingering.len(), 0);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn time_ends_one_whose_peer_says_nothing_and_not_the_next_tenant_of_its_slot() {
        let mut lingering = Lingering::default();
        let (_first_peer, first) = pair();
        let (index, _) = lingering.add(first, MonotonicMs(0)).unwrap();
        lingering.close(index);
        let (_second_peer, second) = pair();
        let (same, _) = lingering.add(second, MonotonicMs(1_000)).unwrap();
        assert_eq!(index, same);
        lingering.tick(MonotonicMs(2_000));
        assert!(lingering.slots[same].is_some());
        assert_eq!(lingering.next_deadline(), Some(MonotonicMs(3_000)));
        lingering.tick(MonotonicMs(3_000));
        assert!(lingering.slots[same].is_none());
        assert_eq!(lingering.next_deadline(), None);
    }

    #[test]
    fn beyond_the_bound_sockets_are_closed_at_once() {
        let mut lingering = Lingering::default();
        for _ in 0..MAX_LINGERING {
            let descriptor = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
            assert!(lingering.add(descriptor, MonotonicMs(0)).is_some());
        }
        let (mut peer, ours) = pair();
        assert!(lingering.add(ours, MonotonicMs(0)).is_none());
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    }
}
