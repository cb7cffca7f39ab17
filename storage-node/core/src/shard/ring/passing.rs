//! Silence, and publications that are answered though the proxy has not taken them: which wait until the log knows of it, and
//! when it has caught up.
//!
//! Leaves out who tells the log (`crate::shard::passing`).

use std::time::Duration;

use freshet_storage_contract::{MonotonicMs, QoS};

use super::{Body, Item, Ring, Waiter};

impl Ring {
    /// A message is lost. True: its publication waits until the log knows.
    pub(super) fn lose(&mut self, waiter: Option<Waiter>) -> bool {
        let waiter = waiter.filter(|_| !self.is_noted);
        self.unnoted.extend(waiter);
        waiter.is_some()
    }

    /// Whether publications are to pass the proxy by and the log does not know.
    pub(crate) fn waits_to_pass(&self) -> bool {
        let is_promised =
            |item: &Item| matches!(&item.body, Body::Message { message, .. } if message.qos != QoS::AtMostOnce);
        let has_promised = || self.items.iter().rev().any(is_promised);
        !self.is_noted && (self.overrun.is_some() || !self.unnoted.is_empty() || self.silent && has_promised())
    }

    /// The log knows that publications may pass the proxy by.
    pub(crate) fn noted(&mut self, released: &mut Vec<Waiter>) {
        self.is_noted = true;
        released.append(&mut self.unnoted);
        self.pass(released);
    }

    /// Has publications pass the proxy by if that is silent or overrun, as far as the log knows.
    pub(crate) fn pass(&mut self, released: &mut Vec<Waiter>) {
        if self.is_noted && (self.silent || self.overrun.is_some()) && !self.items.is_empty() {
            self.release(released);
            self.passed_through = self.last_number();
        }
    }

    /// Whether the log knows that publications have passed the proxy by, though it has all of them by now, or was told. Says
    /// so once.
    pub(crate) fn has_caught_up(&mut self) -> bool {
        let has_all = self.overrun.is_none() && !self.silent && self.passed_through < self.first;
        self.is_noted && has_all && std::mem::take(&mut self.is_noted)
    }

    /// Publications no longer wait for this proxy.
    pub(crate) fn release(&mut self, released: &mut Vec<Waiter>) {
        released.extend(self.items.iter_mut().filter_map(|i| i.waiter.take()));
        released.append(&mut self.unnoted);
    }

    /// When the proxy counts as silent unless it acknowledges something.
    pub(crate) fn silence_begins(&self, after_ms: u64) -> Option<MonotonicMs> {
        (!self.silent && !self.items.is_empty()).then(|| self.progress.plus(Duration::from_millis(after_ms)))
    }

    /// Marks the proxy as silent until it acknowledges something.
    pub(crate) fn fall_silent(&mut self, released: &mut Vec<Waiter>) {
        self.silent = true;
        self.pass(released);
    }
}
