//! Deadlines of connections, in buckets: cheap to set, never cancelled.
//!
//! A connection sets one deadline and looks at what is due only when it fires; keep-alive therefore costs nothing per
//! packet. A deadline that was overtaken by an earlier one still fires and is passed over by its connection. Deadlines
//! fire late by less than [`BUCKET_MS`], never early. Leaves out what a deadline means.

use std::collections::BTreeMap;

use freshet_storage_contract::MonotonicMs;

use crate::worker::ConnectionToken;

/// Width of a bucket. Short against every deadline that MQTT knows, which are whole seconds.
pub(crate) const BUCKET_MS: u64 = 256;

/// Pending deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// By the end of the bucket, in units of [`BUCKET_MS`].
    buckets: BTreeMap<u64, Vec<ConnectionToken>>,
}

/// The bucket in which a deadline fires.
pub(crate) fn bucket_of(at: MonotonicMs) -> u64 {
    at.0.div_ceil(BUCKET_MS)
}

impl Timers {
    /// Sets a deadline.
    pub(crate) fn schedule(&mut self, token: ConnectionToken, at: MonotonicMs) {
        self.buckets.entry(bucket_of(at)).or_default().push(token);
    }

    /// When the next deadline fires.
    pub(crate) fn next(&self) -> Option<MonotonicMs> {
        let (bucket, _) = self.buckets.first_key_value()?;
        Some(MonotonicMs(bucket.saturating_mul(BUCKET_MS)))
    }

    /// Takes one bucket whose time has come, with its number.
    pub(crate) fn pop_due(&mut self, now: MonotonicMs) -> Option<(u64, Vec<ConnectionToken>)> {
        let bucket = self.buckets.first_entry()?;
        (bucket.key().saturating_mul(BUCKET_MS) <= now.0).then(|| bucket.remove_entry())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_fires_late_by_less_than_a_bucket_and_never_early() {
        let mut timers = Timers::default();
        for at in [1, 255, 256, 257, 10_000] {
            timers.schedule(ConnectionToken::from_u64(at), MonotonicMs(at));
        }
        let mut fired = Vec::new();
        for now in 0..11_000 {
            while let Some((_, tokens)) = timers.pop_due(MonotonicMs(now)) {
                fired.extend(tokens.into_iter().map(|token| (token.to_u64(), now)));
            }
        }
        assert_eq!(fired.len(), 5);
        assert!(
            fired.iter().all(|(at, now)| (*at..*at + BUCKET_MS).contains(now)),
            "{fired:?}"
        );
        assert_eq!(timers.next(), None);
    }
}
