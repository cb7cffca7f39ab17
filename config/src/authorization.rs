//! Who may do what, as long as it is the same for every client.

use serde::{Deserialize, Serialize};

/// `spec.authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationConfig {
    /// What holds where no rule settles it.
    pub default: Effect,
    /// In their order: the first one that settles a request counts.
    pub rules: Vec<AuthorizationRule>,
}

/// One rule of `spec.authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationRule {
    /// What it says.
    pub effect: Effect,
    /// Of what.
    pub actions: Vec<Action>,
    /// Valid topic filters, none of a shared subscription.
    pub filters: Vec<String>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Effect {
    /// It may be done.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A message to a topic, a will included.
    Publish,
    /// The messages that a topic filter matches.
    Subscribe,
}
