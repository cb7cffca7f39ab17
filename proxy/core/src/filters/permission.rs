//! Whether a filter's subscribers may have its messages, now that the rules may have changed since they subscribed.
//!
//! A subscription is held against the rules when a client asks for it. Rules change while it is there, and a session may
//! bring it along from before the change: then it is kept and gets nothing for as long as it is not allowed. Found out
//! once per filter and change of the rules, when a message is there for it.

use std::cell::Cell;
use std::sync::Arc;

use freshet_mqtt::TopicFilter;

use super::{Filter, FilterTable};
use crate::authorization::Authorization;

/// Below this are versions of the rules, and at it what no rules have been asked about.
const VERSIONS: u32 = (1 << 31) - 1;

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    authorization: Arc<Authorization>,
    /// How often they have changed, up to [`VERSIONS`] and from the beginning again.
    version: u32,
}

/// What was found out about a filter: twice the version of the rules that it was found out by, and one if it is allowed.
#[derive(Debug)]
pub(super) struct Permission(Cell<u32>);

impl Default for Permission {
    fn default() -> Self {
        Self(Cell::new(u32::MAX))
    }
}

impl Permission {
    /// What is known by these rules.
    fn get(&self, version: u32) -> Option<bool> {
        let found = self.0.get();
        (found >> 1 == version).then_some(found & 1 == 1)
    }

    fn set(&self, version: u32, allowed: bool) {
        self.0.set(version << 1 | u32::from(allowed));
    }
}

impl FilterTable {
    /// Takes up changed rules.
    pub(crate) fn set_authorization(&mut self, authorization: Arc<Authorization>) {
        self.rules = Rules {
            authorization,
            version: (self.rules.version + 1) % VERSIONS,
        };
    }

    /// Whether messages of the filter may be handed to its subscribers.
    pub(super) fn may_deliver(&self, filter: &Filter) -> bool {
        if self.rules.authorization.allows_all_subscriptions() {
            return true;
        }
        if let Some(allowed) = filter.permission.get(self.rules.version) {
            return allowed;
        }
        let topic_filter = str::from_utf8(&filter.topic_filter)
            .ok()
            .and_then(|f| TopicFilter::parse(f).ok());
        let allowed = topic_filter.is_some_and(|f| self.rules.authorization.may_subscribe(f.unshared()));
        filter.permission.set(self.rules.version, allowed);
        allowed
    }
}
