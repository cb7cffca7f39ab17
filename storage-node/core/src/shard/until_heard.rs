//! What was done for a proxy, as long as the proxy may say it again because it has not heard of it.
//!
//! A proxy says again on its next link what it has no answer to. An attach that was refused because a newer connection
//! superseded it must then not look like the newest connection of its client, and a connection whose end has been dealt
//! with not like one that ends now. The proxy has heard of it once it renews its lease on the link that carried an answer
//! to a later renewal.

use std::collections::BTreeSet;

/// Of each kind, what is remembered at most; with more, the older half goes.
const MAX_REMEMBERED: usize = 65_536;

/// What was done for one proxy, by what it says.
#[derive(Debug)]
pub(super) struct UntilHeard<T> {
    since_renewal: BTreeSet<T>,
    before_renewal: BTreeSet<T>,
}

impl<T> Default for UntilHeard<T> {
    fn default() -> Self {
        Self {
            since_renewal: BTreeSet::new(),
            before_renewal: BTreeSet::new(),
        }
    }
}

impl<T: Ord> UntilHeard<T> {
    pub(super) fn insert(&mut self, done: T) {
        if self.since_renewal.len() >= MAX_REMEMBERED {
            self.renewed();
        }
        self.since_renewal.insert(done);
    }

    pub(super) fn contains(&self, said: &T) -> bool {
        self.since_renewal.contains(said) || self.before_renewal.contains(said)
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

    #[test]
    fn what_was_done_is_remembered_until_the_second_renewal_of_a_link() {
        let mut done = UntilHeard::default();
        done.insert(1);
        done.renewed();
        assert!(done.contains(&1));
        done.linked();
        done.renewed();
        assert!(done.contains(&1));
        done.renewed();
        assert!(!done.contains(&1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut all = UntilHeard::default();
        for done in 0..=3 * MAX_REMEMBERED {
            all.insert(done);
        }
        assert!(all.since_renewal.len() + all.before_renewal.len() <= 2 * MAX_REMEMBERED);
        assert!(all.contains(&(3 * MAX_REMEMBERED)));
    }
}
