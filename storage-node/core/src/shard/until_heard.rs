//! Attaches that a newer connection superseded, as long as the proxy may not have heard of it.
//!
//! A proxy asks again on its next link for what it has no answer to. An attach that was refused must then not look like
//! the newest connection of its client. The proxy has heard of a refusal once it renews its lease on the link that
//! carried an answer to a later renewal.

use std::collections::BTreeSet;

use freshet_storage_contract::RequestId;

/// Refusals that are remembered at most; with more, the oldest half goes.
const MAX_REMEMBERED: usize = 65_536;

/// Superseded attaches of one proxy.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    since_renewal: BTreeSet<RequestId>,
    before_renewal: BTreeSet<RequestId>,
}

impl Refusals {
    pub(super) fn insert(&mut self, request: RequestId) {
        if self.since_renewal.len() >= MAX_REMEMBERED {
            self.renewed();
        }
        self.since_renewal.insert(request);
    }

    pub(super) fn contains(&self, request: RequestId) -> bool {
        self.since_renewal.contains(&request) || self.before_renewal.contains(&request)
    }

    /// The proxy renews its lease: it has every answer before the one to its last renewal.
    pub(super) fn renewed(&mut self) {
        self.before_renewal = std::mem::take(&mut self.since_renewal);
    }

    /// A new link: renewals of the old one prove nothing.
    pub(super) fn linked(&mut self) {
        self.since_renewal.append(&mut self.before_renewal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: RequestId = RequestId(1);

    #[test]
    fn a_refusal_is_remembered_until_the_second_renewal_of_a_link() {
        let mut refusals = Refusals::default();
        refusals.insert(R);
        refusals.renewed();
        assert!(refusals.contains(R));
        refusals.linked();
        refusals.renewed();
        assert!(refusals.contains(R));
        refusals.renewed();
        assert!(!refusals.contains(R));
    }

    #[test]
    fn memory_of_refusals_is_bounded() {
        let mut refusals = Refusals::default();
        for request in 0..=3 * MAX_REMEMBERED as u64 {
            refusals.insert(RequestId(request));
        }
        assert!(refusals.since_renewal.len() + refusals.before_renewal.len() <= 2 * MAX_REMEMBERED);
        assert!(refusals.contains(RequestId(3 * MAX_REMEMBERED as u64)));
    }
}
