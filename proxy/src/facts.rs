//! Log lines of the workers' facts: one line each, and not more of one kind than people can read.
//!
//! Owned by a worker's thread. What is left out is counted and told with the next line of its kind. Client ids stand in
//! lines, never in metrics.

use std::time::Duration;

use freshet_proxy_core::DisconnectReason;
use freshet_proxy_core::worker::Fact;
use freshet_storage_contract::MonotonicMs;

/// Lines of one kind within [`WINDOW`].
const LINES_PER_WINDOW: u32 = 20;
/// A window of counting.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes facts to the log.
#[derive(Debug)]
pub(crate) struct FactLog {
    connects: Limit,
    disconnects: [Limit; DisconnectReason::COUNT],
    unlogged: u64,
}

impl Default for FactLog {
    fn default() -> Self {
        Self {
            connects: Limit::default(),
            disconnects: [Limit::default(); DisconnectReason::COUNT],
            unlogged: 0,
        }
    }
}

impl FactLog {
    /// Writes a line for the fact unless too many of its kind were written.
    pub(crate) fn write(&mut self, fact: &Fact, listener_name: impl Fn(u16) -> String, now: MonotonicMs) {
        let limit = match fact {
            Fact::Connected { .. } => Some(&mut self.connects),
            Fact::Disconnected { reason, .. } => self.disconnects.get_mut(reason.index()),
        };
        let Some(left_out) = limit.and_then(|l| l.admit(now)) else {
            self.unlogged += 1;
            return;
        };
        match fact {
            Fact::Connected {
                client_id,
                assigned,
                peer,
                listener,
                version,
                bridge,
                keep_alive_s,
                clean_start,
                ..
            } => tracing::info!(
                client_id = %String::from_utf8_lossy(client_id),
                assigned,
                %peer,
                listener = listener_name(listener.0),
                ?version,
                bridge,
                keep_alive_s,
                clean_start,
                left_out,
                "client connected"
            ),
            Fact::Disconnected {
                client_id,
                peer,
                listener,
                reason,
                refused,
                lasted,
                was_accepted,
                ..
            } => tracing::info!(
                client_id = client_id.as_deref().map(|id| String::from_utf8_lossy(id).into_owned()),
                %peer,
                listener = listener_name(listener.0),
                reason = reason.word(),
                refused = refused.as_ref().map(ToString::to_string),
                lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
                was_accepted,
                left_out,
                "connection ended"
            ),
        }
    }

    /// Facts that got no line.
    pub(crate) fn unlogged(&self) -> u64 {
        self.unlogged
    }
}

/// How many lines of a kind were written in the present window.
#[derive(Debug, Clone, Copy, Default)]
struct Limit {
    window_began: MonotonicMs,
    written: u32,
    left_out: u64,
}

impl Limit {
    /// Admits a line and says how many were left out before it; none: this one is left out.
    fn admit(&mut self, now: MonotonicMs) -> Option<u64> {
        if now.since(self.window_began) >= WINDOW {
            self.window_began = now;
            self.written = 0;
        }
        if self.written >= LINES_PER_WINDOW {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_with_the_next_window() {
        let mut limit = Limit::default();
        for _ in 0..LINES_PER_WINDOW {
            assert_eq!(limit.admit(MonotonicMs(5)), Some(0));
        }
        assert_eq!(limit.admit(MonotonicMs(6)), None);
        assert_eq!(limit.admit(MonotonicMs(7)), None);
        assert_eq!(limit.admit(MonotonicMs(2_000)), Some(2));
        assert_eq!(limit.admit(MonotonicMs(2_000)), Some(0));
    }
}
