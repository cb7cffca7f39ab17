//! Proxies that publications have passed by: publishers were answered though the proxy had not taken what its clients with
//! QoS 1 and 2 were to have, as it was silent, overrun, or gone.
//!
//! The leader that did so tells the proxy when it is back. The next one has nothing of what was on its way: it knows by this
//! whom it has to tell. A proxy goes from here when it has taken everything, or was told, and some time after its end.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use freshet_storage_contract::IncarnationId;

use super::rows::Changes;

/// How long a proxy is noted that does not come back, ms of log time. One that could not reach storage for half as long
/// takes it that it was passed by.
const KEPT_MS: u64 = 24 * 3_600_000;

/// The proxies that a shard has noted.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// With the log time at which each goes, ms.
    proxies: BTreeMap<IncarnationId, u64>,
    ends: BTreeSet<(u64, IncarnationId)>,
    changes: Changes<IncarnationId>,
}

impl Passed {
    pub(crate) fn contains(&self, proxy: IncarnationId) -> bool {
        self.proxies.contains_key(&proxy)
    }

    /// Publications pass a proxy by, still or from now on.
    pub(super) fn insert(&mut self, proxy: IncarnationId, log_time_ms: u64) {
        let goes_ms = log_time_ms.saturating_add(KEPT_MS);
        match self.proxies.insert(proxy, goes_ms) {
            Some(before_ms) => {
                self.ends.remove(&(before_ms, proxy));
                self.changes.change(proxy);
            }
            None => self.changes.add(proxy),
        }
        self.ends.insert((goes_ms, proxy));
    }

    /// A proxy has missed nothing, has been told, or comes back no more.
    pub(super) fn remove(&mut self, proxy: IncarnationId) -> bool {
        let Some(goes_ms) = self.proxies.remove(&proxy) else {
            return false;
        };
        self.ends.remove(&(goes_ms, proxy));
        self.changes.remove(proxy);
        true
    }

    /// A leader begins: proxies have time to come back to it.
    pub(super) fn keep_all(&mut self, log_time_ms: u64) {
        let all: Vec<IncarnationId> = self.proxies.keys().copied().collect();
        for proxy in all {
            self.insert(proxy, log_time_ms);
        }
    }

    /// Who goes first, and when, ms of log time.
    pub(crate) fn first(&self) -> Option<(u64, IncarnationId)> {
        self.ends.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IncarnationId = IncarnationId(1);
    const B: IncarnationId = IncarnationId(2);

    #[test]
    fn a_proxy_is_noted_until_it_has_everything() {
        let mut passed = Passed::default();
        passed.insert(A, 0);
        passed.insert(A, 5);
        assert!(passed.contains(A) && !passed.contains(B));
        assert!(passed.remove(A) && !passed.remove(A));
        assert_eq!(passed.first(), None);
    }

    #[test]
    fn who_was_passed_by_last_goes_last_and_all_stay_when_a_leader_begins() {
        let mut passed = Passed::default();
        passed.insert(A, 0);
        passed.insert(B, 1);
        passed.insert(A, 2);
        assert_eq!(passed.first(), Some((KEPT_MS + 1, B)));
        passed.keep_all(7);
        assert_eq!(passed.first(), Some((KEPT_MS + 7, A)));
    }
}
