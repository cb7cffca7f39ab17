//! What is remembered of the proxies' answers, and for how long.

use freshet_load::{Latency, Moves};

use super::super::tests::{proxy, settings};
use super::*;
use crate::observe::Role;

const NOW_MS: u64 = 1_795_000_000_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The answer of a proxy that takes orders.
fn answer(clients: u64) -> Load {
    Load {
        clients: Some(clients),
        storage_attached: true,
        moves: Some(Moves::default()),
        ..Load::default()
    }
}

/// Two proxies, one of them full, and the operator that asks them.
fn asked(clients: [u64; 2]) -> (Observed, Teller) {
    let mut teller = Teller::default();
    for (name, clients) in ["a", "b"].into_iter().zip(clients) {
        teller.take(name, Some(&answer(clients)), seconds(10));
    }
    let proxies = vec![proxy("a", Role::Active), proxy("b", Role::Active)];
    let observed = Observed {
        proxies,
        ..Observed::default()
    };
    (observed, teller)
}

#[test]
fn an_answer_is_believed_for_three_seconds_and_its_absence_after_fifteen() {
    let (_, mut teller) = asked([7, 9]);
    teller.take("c", None, seconds(12));
    let known = |at: Duration| teller.samples(at).known.keys().cloned().collect::<Vec<_>>();
    let silent = |at: Duration| teller.samples(at).silent.into_iter().collect::<Vec<_>>();
    assert_eq!(known(seconds(13)), ["a", "b"]);
    assert_eq!(known(Duration::from_millis(13_001)), Vec::<String>::new());
    assert_eq!(silent(Duration::from_millis(24_999)), Vec::<String>::new());
    assert_eq!(silent(seconds(25)), ["a", "b"]);
    // One that has never answered is waited for since it was first asked.
    assert_eq!(silent(seconds(27)), ["a", "b", "c"]);
}

#[test]
fn an_answer_says_all_that_moves_are_planned_by() {
    let mut teller = Teller::default();
    let load = Load {
        attaching_clients: Some(4),
        moves: Some(Moves {
            finishing: 3,
            at_risk: 2,
            ..Moves::default()
        }),
        connacks: Some(Latency {
            p99_ms: 17,
            ..Latency::default()
        }),
        ..answer(1_000)
    };
    teller.take("a", Some(&load), seconds(1));
    let expected = ProxySample {
        clients: 1_000,
        finishing: 3,
        at_risk: 2,
        takes_orders: true,
        connack_p99_ms: Some(17),
        attaching: 4,
        has_storage: true,
    };
    assert_eq!(teller.samples(seconds(1)).known.get("a"), Some(&expected));
    // Whatever a proxy says can be added up; and one whose workers have not all answered says nothing.
    teller.take("a", Some(&answer(u64::MAX)), seconds(2));
    assert_eq!(teller.samples(seconds(2)).known["a"].clients, 1 << 32);
    teller.take("a", Some(&Load::default()), seconds(9));
    assert_eq!(teller.samples(seconds(9)).known.get("a"), None);
}

#[test]
fn the_pace_follows_the_receivers_while_clients_move_and_begins_anew_for_the_next() {
    let (mut observed, mut teller) = asked([2_000, 0]);
    let mut settings = settings();
    settings.drain_max_per_second = 100;
    assert!(
        teller.tick(&observed, &settings, seconds(10), NOW_MS),
        "some are to move"
    );
    let plan = teller.plan(&observed, &settings, seconds(10), NOW_MS);
    let first = plan.writes[0].order.clone().expect("an order");
    // A quarter of the greater of the two bounds.
    assert_eq!((plan.begins, first.clients_per_second), (Some(1_000), 125));
    observed.proxies[0].order = Some(first);
    observed.proxies[0].is_accepting = false;
    let pace = |teller: &Teller, observed: &Observed| {
        let plan = teller.plan(observed, &settings, seconds(11), NOW_MS + 2_000);
        plan.writes
            .first()
            .and_then(|write| write.order.as_ref())
            .map(|order| order.clients_per_second)
    };
    assert!(teller.tick(&observed, &settings, seconds(11), NOW_MS + 2_000));
    assert_eq!(pace(&teller, &observed), Some(250));
    observed.proxies[0].order = None;
    observed.proxies[0].is_accepting = true;
    teller.take("a", Some(&answer(1_000)), seconds(11));
    teller.take("b", Some(&answer(1_000)), seconds(11));
    assert!(
        !teller.tick(&observed, &settings, seconds(11), NOW_MS + 2_000),
        "all are even"
    );
    teller.take("a", Some(&answer(2_000)), seconds(11));
    assert_eq!(pace(&teller, &observed), Some(125));
}

#[test]
fn while_a_proxy_leaves_its_bound_is_that_of_all() {
    let (mut observed, _) = asked([0, 0]);
    let mut settings = settings();
    (settings.drain_max_per_second, settings.rebalance_max_per_second) = (100, 900);
    assert_eq!(settings.max_per_second(&observed), 900);
    observed.proxies[1].role = Some(Role::Draining);
    assert_eq!(settings.max_per_second(&observed), 100);
    observed.proxies[1].pod.is_deleting = true;
    assert_eq!(settings.max_per_second(&observed), 900);
}

#[test]
fn after_an_action_none_begins_at_once() {
    let (observed, mut teller) = asked([2_000, 0]);
    let begins = |teller: &Teller| teller.plan(&observed, &settings(), seconds(10), NOW_MS).begins;
    assert_eq!(begins(&teller), Some(1_000));
    teller.note_end(Rebalanced {
        at_ms: NOW_MS,
        proxies: 2,
        is_even: true,
    });
    assert_eq!(begins(&teller), None);
}

#[test]
fn behind_a_proxy_that_left_none_begins_for_a_while() {
    let (mut observed, mut teller) = asked([2_000, 0]);
    teller.take("c", Some(&answer(1)), seconds(10));
    let mut leaving = proxy("c", Role::Active);
    leaving.pod.is_deleting = true;
    observed.proxies.push(leaving);
    teller.tick(&observed, &settings(), seconds(10), NOW_MS);
    observed.proxies.pop();
    let begins = |after_ms| {
        let plan = teller.plan(&observed, &settings(), seconds(10), NOW_MS + after_ms);
        plan.begins
    };
    assert_eq!([19_999, 20_000].map(begins), [None, Some(1_000)]);
}

#[test]
fn proxies_that_are_gone_are_forgotten() {
    let (mut observed, mut teller) = asked([5, 5]);
    teller.take("gone", Some(&answer(5)), seconds(10));
    teller.tick(&observed, &settings(), seconds(10), NOW_MS);
    let known: Vec<_> = teller.samples(seconds(10)).known.into_keys().collect();
    assert_eq!(known, ["a", "b"]);
    observed.proxies.clear();
    teller.tick(&observed, &settings(), seconds(10), NOW_MS);
    assert_eq!(teller.samples(seconds(10)), Samples::default());
}

#[test]
fn settings_are_read_from_the_resource() {
    use freshet_operator_api::{Proxy, RebalanceMode};
    let mut resource = Proxy::default();
    resource.rebalance.mode = RebalanceMode::Steered;
    let read = |resource: &Proxy| MoveSettings::read(resource).map(|settings| settings.steers);
    assert_eq!(read(&resource), Some(true));
    resource.rebalance.mode = RebalanceMode::OnReconnectOnly;
    assert_eq!(read(&resource), Some(false));
    resource.drain.linger.0 = "soon".to_owned();
    assert_eq!(read(&resource), None);
}
