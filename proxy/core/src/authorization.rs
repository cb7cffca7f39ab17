//! Whether clients may publish and subscribe, by rules that are the same for all of them (`spec.authorization`).
//!
//! Made once per configuration, asked by connections. Rules are gone through in their order, and the first one that
//! settles a request counts, so that an exception stands in front of the rule that it is taken from:
//!
//! * A topic name is settled by the first rule with a filter that matches it.
//! * A topic filter is settled by the first rule that allows all of it or denies any of it. So a client that may not
//!   have `a/b` may not have `#` either: it is told so, instead of being left to wonder what it never receives, and a
//!   message on its way to clients is held against no rule.
//!
//! Topics of the server's own, which nobody publishes to, are not looked at here.

mod rules;

use freshet_config::{Action, AuthorizationConfig, Effect};
use freshet_mqtt::{filter_covers, filters_overlap};

use self::rules::RuleTree;

/// Compiled rules.
#[derive(Debug)]
pub(crate) struct Authorization {
    default: Effect,
    publish: RuleTree,
    /// What the rules say of Subscribe, filter by filter.
    subscribe: Vec<(Box<str>, Effect)>,
    allows_all_subscriptions: bool,
}

impl Authorization {
    pub(crate) fn new(config: &AuthorizationConfig) -> Self {
        let of = |action: Action| {
            let rules = config.rules.iter().filter(move |rule| rule.actions.contains(&action));
            rules.flat_map(|rule| rule.filters.iter().map(|filter| (filter.as_str(), rule.effect)))
        };
        let mut publish = RuleTree::default();
        for (filter, effect) in of(Action::Publish) {
            publish.push(filter, effect);
        }
        let subscribe: Vec<(Box<str>, Effect)> = of(Action::Subscribe)
            .map(|(filter, effect)| (filter.into(), effect))
            .collect();
        let denies = subscribe.iter().any(|(_, effect)| *effect == Effect::Deny);
        Self {
            default: config.default,
            publish,
            subscribe,
            allows_all_subscriptions: config.default == Effect::Allow && !denies,
        }
    }

    /// Whether a message may be published to a topic.
    pub(crate) fn may_publish(&self, topic_name: &str) -> bool {
        self.publish.first_match(topic_name).unwrap_or(self.default) == Effect::Allow
    }

    /// Whether a filter, taken without any prefix of a shared subscription, may be subscribed to.
    pub(crate) fn may_subscribe(&self, topic_filter: &str) -> bool {
        let settles = |rule: &str, effect: Effect| match effect {
            Effect::Allow => filter_covers(rule, topic_filter),
            Effect::Deny => filters_overlap(rule, topic_filter),
        };
        let rule = self.subscribe.iter().find(|(rule, effect)| settles(rule, *effect));
        rule.map_or(self.default, |(_, effect)| *effect) == Effect::Allow
    }

    /// Whether everything may be subscribed to.
    pub(crate) fn allows_all_subscriptions(&self) -> bool {
        self.allows_all_subscriptions
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self::new(&AuthorizationConfig::default())
    }
}

#[cfg(test)]
mod tests;
