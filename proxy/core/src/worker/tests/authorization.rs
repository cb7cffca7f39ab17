//! What clients see of `spec.authorization`.

use std::sync::Arc;

use freshet_config::{Action, AuthorizationConfig, AuthorizationRule, Effect, ProxyConfig};
use freshet_mqtt::{ClientPacket, Connect, ProtocolVersion, QoS, ReasonCode, Will, WillProperties};

use super::bench::*;
use super::seen::Seen;
use crate::exchange::ToLink;
use crate::reason::DisconnectReason;

fn deny(actions: &[Action], filters: &[&str]) -> AuthorizationConfig {
    let rule = AuthorizationRule {
        effect: Effect::Deny,
        actions: actions.to_vec(),
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
    };
    AuthorizationConfig {
        default: Effect::Allow,
        rules: vec![rule],
    }
}

fn bench(authorization: AuthorizationConfig) -> Bench {
    Bench::configured(|config| config.authorization = authorization)
}

fn reload(bench: &mut Bench, authorization: AuthorizationConfig) {
    let config = ProxyConfig {
        authorization,
        ..ProxyConfig::default()
    };
    bench.worker.reload(Arc::new(config));
}

fn published(bench: &Bench) -> usize {
    let is_publication = |said: &&ToLink| matches!(said, ToLink::Publish { .. });
    bench.storage.heard.iter().filter(is_publication).count()
}

#[test]
fn a_refused_filter_is_told_in_suback_and_the_others_are_granted() {
    let mut bench = bench(deny(&[Action::Subscribe], &["a/b"]));
    for (version, refused) in [
        (V5, ReasonCode::NotAuthorized),
        (V311, ReasonCode::UnspecifiedError),
        (V31, ReasonCode::UnspecifiedError),
    ] {
        let client = bench.client(version, "c");
        for filter in ["a/b", "a/+", "#"] {
            let seen = bench.subscribe(client, filter, QoS::AtLeastOnce);
            assert_eq!(seen, [Seen::SubAck(9, vec![refused])], "{filter}");
        }
        let seen = bench.subscribe(client, "a/c", QoS::AtLeastOnce);
        assert_eq!(seen, [Seen::SubAck(9, vec![ReasonCode::GrantedQos1])]);
        // It may publish where it may not subscribe.
        bench.publish(client, "a/b", b"x", QoS::AtMostOnce, 0);
    }
    assert_eq!(bench.worker.stats().subscriptions_not_authorized, 9);
    assert_eq!((published(&bench), bench.worker.stats().subscriptions_now), (3, 1));
}

#[test]
fn a_refused_publication_is_answered_as_its_version_allows_and_goes_no_further() {
    let mut bench = bench(deny(&[Action::Publish], &["a/#"]));
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    for client in [old, new] {
        for (qos, packet_id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
            bench.publish(client, "a/b", b"x", qos, packet_id);
        }
    }
    let no = ReasonCode::NotAuthorized;
    assert_eq!(bench.read(new), [Seen::PubAck(1, no), Seen::PubRec(2, no)]);
    let yes = ReasonCode::Success;
    assert_eq!(bench.read(old), [Seen::PubAck(1, yes), Seen::PubRec(2, yes)]);
    // The exchange goes on as 3.1.1 has it.
    bench.pubrel(old, 2);
    assert_eq!(bench.read(old), [Seen::PubComp(2, yes)]);
    assert_eq!(
        (published(&bench), bench.worker.stats().publishes_not_authorized),
        (0, 6)
    );
    for client in [old, new] {
        bench.publish(client, "b", b"x", QoS::AtMostOnce, 0);
        assert_eq!(bench.reason(client), None);
    }
    assert_eq!(published(&bench), 2);
}

#[test]
fn an_alias_is_held_against_the_rules_as_its_topic_is() {
    let mut bench = bench(deny(&[Action::Publish], &["a"]));
    let client = bench.client(V5, "c");
    for (topic, packet_id) in [("a", 1), ("", 2)] {
        let mut packet = publish(topic, b"x", QoS::AtLeastOnce, packet_id);
        packet.properties.topic_alias = std::num::NonZeroU16::new(1);
        bench.send(client, ClientPacket::Publish(packet));
    }
    let no = ReasonCode::NotAuthorized;
    assert_eq!(bench.read(client), [Seen::PubAck(1, no), Seen::PubAck(2, no)]);
    assert_eq!(published(&bench), 0);
}

#[test]
fn a_will_that_may_not_be_published_refuses_the_connect() {
    let mut bench = bench(deny(&[Action::Publish], &["a/#"]));
    let connect = |bench: &mut Bench, version: ProtocolVersion, topic_name| {
        let will = Will {
            topic_name,
            payload: b"gone",
            qos: QoS::AtMostOnce,
            retain: false,
            properties: WillProperties::default(),
        };
        let client = bench.open(version);
        let connect = Connect {
            will: Some(will),
            ..Connect::new(version, "c")
        };
        bench.send(client, ClientPacket::Connect(connect));
        client
    };
    for version in [V5, V311] {
        let client = connect(&mut bench, version, "a/b");
        let (seen, reason) = bench.last_words(client);
        let [Seen::ConnAck(connack)] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(connack.reason_code, ReasonCode::NotAuthorized);
        assert_eq!(reason, Some(DisconnectReason::WillNotAllowed));
        let client = connect(&mut bench, version, "b");
        assert_eq!(bench.reason(client), None);
        bench.hang_up(client);
    }
}

#[test]
fn with_deny_as_the_default_only_what_is_allowed_goes_through() {
    let mut rules = deny(&[Action::Publish, Action::Subscribe], &["open/#"]);
    (rules.default, rules.rules[0].effect) = (Effect::Deny, Effect::Allow);
    let mut bench = bench(rules);
    let client = bench.client(V5, "c");
    let codes = |seen: Vec<Seen>| match &seen[..] {
        [Seen::SubAck(_, codes)] => codes.clone(),
        other => panic!("{other:?}"),
    };
    let granted = bench.subscribe(client, "open/#", QoS::AtMostOnce);
    assert_eq!(codes(granted), [ReasonCode::GRANTED_QOS_0]);
    for filter in ["#", "+/x", "$SYS/#"] {
        let refused = bench.subscribe(client, filter, QoS::AtMostOnce);
        assert_eq!(codes(refused), [ReasonCode::NotAuthorized], "{filter}");
    }
    bench.publish(client, "closed", b"x", QoS::AtMostOnce, 0);
    bench.publish(client, "open/x", b"x", QoS::AtMostOnce, 0);
    assert_eq!(bench.read_publishes(client).len(), 1);
    assert_eq!(bench.worker.stats().publishes_not_authorized, 1);
}

#[test]
fn changed_rules_hold_for_present_clients_and_their_subscriptions() {
    let mut bench = bench(AuthorizationConfig::default());
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a/#", QoS::AtLeastOnce);
    bench.subscribe(client, "b", QoS::AtLeastOnce);
    let deliver = |bench: &mut Bench, payload: &[u8]| {
        for topic in ["a/b", "b"] {
            bench.deliver(message(topic, payload, QoS::AtMostOnce));
        }
        let seen = bench.read_publishes(client);
        seen.into_iter().map(|publish| publish.topic).collect::<Vec<_>>()
    };
    assert_eq!(deliver(&mut bench, b"1"), ["a/b", "b"]);
    reload(&mut bench, deny(&[Action::Publish, Action::Subscribe], &["a/b"]));
    assert_eq!(deliver(&mut bench, b"2"), ["b"], "a/# would match what is denied");
    assert_eq!(bench.worker.stats().deliveries_not_authorized, 1);
    bench.publish(client, "a/b", b"x", QoS::AtLeastOnce, 1);
    assert_eq!(bench.read(client), [Seen::PubAck(1, ReasonCode::NotAuthorized)]);
    // The subscription is still there: it counts again when the rules allow it again.
    reload(&mut bench, AuthorizationConfig::default());
    assert_eq!(deliver(&mut bench, b"3"), ["a/b", "b"]);
    assert_eq!(bench.reason(client), None);
}
