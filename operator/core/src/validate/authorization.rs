//! `spec.authorization`, with filters that the proxies' own parser takes.

use freshet_config::{Action, AuthorizationConfig, AuthorizationRule, Effect};
use freshet_mqtt::TopicFilter;
use freshet_operator_api as api;

use super::Check;

pub(super) fn authorization_of(authorization: &api::Authorization, check: &mut Check) -> AuthorizationConfig {
    for (index, rule) in authorization.rules.iter().enumerate() {
        let field = format!("spec.authorization.rules[{index}].filters");
        for filter in &rule.filters {
            match TopicFilter::parse(filter) {
                Ok(parsed) if parsed.shared().is_some() => {
                    check.problem(&field, format!("`{filter}` has the prefix of a shared subscription"));
                }
                Ok(_) => {}
                Err(error) => check.problem(&field, format!("`{filter}`: {error}")),
            }
        }
    }
    let rule = |rule: &api::AuthorizationRule| AuthorizationRule {
        effect: effect_of(rule.effect),
        actions: rule.actions.iter().copied().map(action_of).collect(),
        filters: rule.filters.clone(),
    };
    AuthorizationConfig {
        default: effect_of(authorization.default),
        rules: authorization.rules.iter().map(rule).collect(),
    }
}

fn effect_of(effect: api::Effect) -> Effect {
    match effect {
        api::Effect::Allow => Effect::Allow,
        api::Effect::Deny => Effect::Deny,
    }
}

fn action_of(action: api::Action) -> Action {
    match action {
        api::Action::Publish => Action::Publish,
        api::Action::Subscribe => Action::Subscribe,
    }
}
