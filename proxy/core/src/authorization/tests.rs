//! What rules say of topics and of filters.

use freshet_config::AuthorizationRule;
use freshet_mqtt::topic_matches;
use proptest::prelude::*;

use super::*;

fn rule(effect: Effect, filters: &[&str]) -> AuthorizationRule {
    AuthorizationRule {
        effect,
        actions: vec![Action::Publish, Action::Subscribe],
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
    }
}

fn compiled(default: Effect, rules: Vec<AuthorizationRule>) -> Authorization {
    Authorization::new(&AuthorizationConfig { default, rules })
}

#[test]
fn without_rules_the_default_holds() {
    let allowed = compiled(Effect::Allow, Vec::new());
    assert!(allowed.may_publish("a") && allowed.may_subscribe("#") && allowed.allows_all_subscriptions());
    let denied = compiled(Effect::Deny, Vec::new());
    assert!(!denied.may_publish("a") && !denied.may_subscribe("a") && !denied.allows_all_subscriptions());
}

#[test]
fn an_exception_stands_in_front_of_its_rule() {
    let rules = compiled(
        Effect::Allow,
        vec![rule(Effect::Allow, &["a/public/#"]), rule(Effect::Deny, &["a/#"])],
    );
    assert!(rules.may_publish("a/public/x") && rules.may_subscribe("a/public/+"));
    assert!(!rules.may_publish("a/x") && !rules.may_subscribe("a/x"));
    assert!(rules.may_publish("b") && rules.may_subscribe("b/#"));
    let reversed = compiled(
        Effect::Allow,
        vec![rule(Effect::Deny, &["a/#"]), rule(Effect::Allow, &["a/public/#"])],
    );
    assert!(!reversed.may_publish("a/public/x") && !reversed.may_subscribe("a/public/x"));
}

#[test]
fn a_filter_that_matches_a_denied_topic_is_refused() {
    let rules = compiled(Effect::Allow, vec![rule(Effect::Deny, &["a/b"])]);
    for filter in ["a/b", "a/+", "+/b", "a/#", "#"] {
        assert!(!rules.may_subscribe(filter), "{filter}");
    }
    for filter in ["a", "a/c", "a/b/c", "a/+/+", "b/#"] {
        assert!(rules.may_subscribe(filter), "{filter}");
    }
}

#[test]
fn a_filter_is_allowed_only_as_a_whole() {
    let rules = compiled(Effect::Deny, vec![rule(Effect::Allow, &["a/+", "b/#"])]);
    for filter in ["a/x", "a/+", "b", "b/#"] {
        assert!(rules.may_subscribe(filter), "{filter}");
    }
    for filter in ["a/#", "+/x", "#", "a"] {
        assert!(!rules.may_subscribe(filter), "{filter}");
    }
}

#[test]
fn wildcards_say_nothing_of_topics_with_a_dollar() {
    let rules = compiled(Effect::Allow, vec![rule(Effect::Deny, &["#", "+/x"])]);
    assert!(!rules.may_publish("a/x"));
    assert!(rules.may_publish("$a/x") && rules.may_subscribe("$SYS/#"));
    let named = compiled(Effect::Allow, vec![rule(Effect::Deny, &["$SYS/#"])]);
    assert!(!named.may_subscribe("$SYS/x") && named.may_subscribe("#"));
}

#[test]
fn each_action_has_its_own_rules() {
    let mut only_subscribe = rule(Effect::Deny, &["a/b"]);
    only_subscribe.actions = vec![Action::Subscribe];
    let rules = compiled(Effect::Allow, vec![only_subscribe]);
    assert!(rules.may_publish("a/b") && !rules.may_subscribe("a/b"));
}

#[test]
fn many_levels_are_no_danger() {
    let filter = "+/".repeat(2_000) + "#";
    let rules = compiled(Effect::Allow, vec![rule(Effect::Deny, &[filter.as_str()])]);
    assert!(!rules.may_publish(&"a/".repeat(2_000)));
}

fn rules() -> impl Strategy<Value = Vec<AuthorizationRule>> {
    let filters = prop::collection::vec("\\$?([ab]/|\\+/){0,2}([ab]|\\+|#)", 1..4);
    let one = (any::<bool>(), filters).prop_map(|(allow, filters)| AuthorizationRule {
        effect: if allow { Effect::Allow } else { Effect::Deny },
        actions: vec![Action::Publish, Action::Subscribe],
        // `$+` is no filter.
        filters: filters
            .into_iter()
            .map(|filter| filter.replace("$+", "$a").replace("$#", "$a"))
            .collect(),
    });
    prop::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn the_tree_finds_the_first_rule_that_matches(rules in rules(), topic_name in "\\$?[abc](/[abc]){0,3}") {
        let matching = rules.iter().find(|rule| rule.filters.iter().any(|filter| topic_matches(filter, &topic_name)));
        let expected = matching.map_or(Effect::Deny, |rule| rule.effect) == Effect::Allow;
        prop_assert_eq!(compiled(Effect::Deny, rules).may_publish(&topic_name), expected);
    }

    /// Whatever a client may subscribe to, no message of a topic that is denied reaches it.
    #[test]
    fn what_may_be_subscribed_matches_no_denied_topic(
        rules in rules(), filter in "([ab]/|\\+/){0,2}([ab]|\\+|#)", topic_name in "\\$?[abc](/[abc]){0,3}"
    ) {
        let compiled = compiled(Effect::Allow, rules);
        if compiled.may_subscribe(&filter) && topic_matches(&filter, &topic_name) {
            prop_assert!(compiled.may_publish(&topic_name), "{filter} lets {topic_name} through");
        }
    }
}
