//! `spec.authorization`: which topics clients may publish and subscribe to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::rule;

/// Which topics clients may publish and subscribe to. Rules are the same for every client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Authorization {
    /// What holds where no rule settles it: `Allow` or `Deny`. Default `Allow`. Live.
    pub default: Effect,
    /// Gone through in their order, of which the first that settles a request counts: for a topic of a message or a will,
    /// the first with a filter that matches it; for a topic filter, the first that allows all of it or denies any of it.
    /// So an exception stands in front of its rule, and whoever may not have `a/b` may not have `#`. A subscription that
    /// is not allowed any more stays, and gets nothing; a will is looked at when its client connects. Live.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub rules: Vec<AuthorizationRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct AuthorizationRule {
    /// `Allow` or `Deny`. Live.
    pub effect: Effect,
    /// `Publish`, `Subscribe` or both. Live.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub actions: Vec<Action>,
    /// Topic filters, such as `devices/+/commands` or `$SYS/#`. As in a subscription, no wildcard stands for a first
    /// level with `$`. Of a shared subscription, what follows the name of the group is looked at. Live.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-validations" = filter_rules())
    )]
    pub filters: Vec<String>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Effect {
    /// It may be done.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Action {
    /// A message to a topic, a will included.
    Publish,
    /// The messages that a topic filter matches.
    Subscribe,
}

fn filter_rules() -> Value {
    json!([
        rule(
            r"self.all(f, f.matches('^(([^+#/]*|[+])/)*([^+#/]*|[+#])$'))",
            "authorization.rules.filters must be topic filters: + fills a level, # is the last level",
        ),
        rule(
            "self.all(f, !f.startsWith('$share/') && !f.startsWith('$queue/'))",
            "authorization.rules.filters must be without the prefix of a shared subscription: what follows it is looked at",
        ),
    ])
}
