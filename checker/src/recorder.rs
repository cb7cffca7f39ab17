//! Writes the history down while it happens.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::history::{ConnectionNumber, Event, History, What};

/// One list for all clients. The lock makes their order; the clock only says how far apart they are.
#[derive(Debug)]
pub(crate) struct Recorder {
    begun: Instant,
    events: Mutex<Vec<Event>>,
    connections: AtomicU32,
    messages: AtomicUsize,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            events: Mutex::new(Vec::new()),
            connections: AtomicU32::new(0),
            messages: AtomicUsize::new(0),
        }
    }

    /// A number for an attempt to connect.
    pub(crate) fn next_connection(&self) -> ConnectionNumber {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn record(&self, connection: ConnectionNumber, what: What) {
        if !matches!(what, What::Pinging | What::Pinged) {
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let at_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        events.push(Event {
            at_us,
            connection,
            what,
        });
    }

    /// How much has been written.
    pub(crate) fn len(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How much of it is not about whether somebody is there.
    pub(crate) fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// What has been written.
    pub(crate) fn history(&self) -> History {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        History { events }
    }
}
