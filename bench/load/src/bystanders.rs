//! What is there beside a load and has no part in it: connections that do nothing, and filters that match nothing of it.

use std::net::TcpStream;

use super::guest::{Guest, Session, Subscription, admit};
use super::meter::Broker;

/// Filters of one connection: as many as a session may have by default.
const FILTERS_EACH: usize = 1_000;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bystanders {
    /// Connections without a filter.
    Connections,
    /// Filters without wildcards.
    Filters,
    /// Filters with wildcards at the first levels.
    Wildcards,
    /// `dev/ID/#`.
    Subtrees,
}

impl Bystanders {
    /// Connects them: so many connections, or as many as so many filters need.
    ///
    /// # Errors
    /// When one is refused.
    pub(crate) fn connect(self, broker: &dyn Broker, name: &str, count: usize) -> anyhow::Result<Vec<TcpStream>> {
        let each = if self == Self::Connections { 1 } else { FILTERS_EACH };
        let guests: Vec<Guest> = (0..count)
            .step_by(each)
            .map(|first| Guest {
                client_id: format!("{name}{first}"),
                session: Session::Clean,
                comes_back: false,
                subscriptions: (first..count.min(first + each))
                    .filter_map(|number| self.filter(name, number))
                    .map(|filter| Subscription { filter, qos: 1 })
                    .collect(),
            })
            .collect();
        admit(broker.addresses(), &guests.iter().collect::<Vec<_>>(), 0)
    }

    fn filter(self, name: &str, number: usize) -> Option<String> {
        match (self, number % 3) {
            (Self::Connections, _) => None,
            (Self::Filters, _) => Some(format!("bench/pairs/{name}{number}")),
            (Self::Subtrees, _) => Some(format!("dev/{name}{number}/#")),
            (Self::Wildcards, 0) => Some(format!("+/pairs/{name}{number}")),
            (Self::Wildcards, 1) => Some(format!("bench/+/{name}{number}/#")),
            (Self::Wildcards, _) => Some(format!("+/+/{name}{number}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bystanders;

    #[test]
    fn each_filter_has_a_level_of_its_own_so_that_it_matches_nothing_of_a_load() {
        for kind in [Bystanders::Filters, Bystanders::Wildcards, Bystanders::Subtrees] {
            let filters: std::collections::BTreeSet<String> =
                (0..100).filter_map(|number| kind.filter("own", number)).collect();
            assert_eq!(filters.len(), 100);
            let has_own_level = |filter: &String| filter.split('/').any(|level| level.starts_with("own"));
            assert!(filters.iter().all(has_own_level), "{filters:?}");
        }
        assert_eq!(Bystanders::Connections.filter("own", 0), None);
    }
}
