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

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    authorization: Arc<Authorization>,
    /// How often they have changed.
    version: u32,
}

/// What was found out about a filter, and by which version of the rules.
#[derive(Debug)]
pub(super) struct Permission(Cell<(u32, bool)>);

impl Default for Permission {
    fn default() -> Self {
        Self(Cell::new((u32::MAX, false)))
    }
}

impl FilterTable {
    /// Takes up changed rules.
    pub(crate) fn set_authorization(&mut self, authorization: Arc<Authorization>) {
        self.rules = Rules {
            authorization,
            version: self.rules.version.wrapping_add(1),
        };
    }

    /// Whether messages of the filter may be handed to its subscribers.
    pub(super) fn may_deliver(&self, filter: &Filter) -> bool {
        if self.rules.authorization.allows_all_subscriptions() {
            return true;
        }
        let (version, allowed) = filter.permission.0.get();
        if version == self.rules.version {
            return allowed;
        }
        let topic_filter = str::from_utf8(&filter.topic_filter)
            .ok()
            .and_then(|f| TopicFilter::parse(f).ok());
        let allowed = topic_filter.is_some_and(|f| self.rules.authorization.may_subscribe(f.unshared()));
        filter.permission.0.set((self.rules.version, allowed));
        allowed
    }
}
