//! Wills of connections that a proxy names when their client is connected elsewhere, or that have ended.

use super::*;

/// A client that has connected by B when A names an earlier connection of it.
fn named_late() -> (World, SessionEpoch) {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "will/#");
    w.attach_session(B, 1, "c", None);
    let epoch = SessionEpoch {
        term: Term(50),
        counter: 1,
    };
    w.operate(A, named(epoch));
    assert_eq!(published(&mut w), 0, "not before it is known how it ended");
    (w, epoch)
}

#[test]
fn a_connection_that_is_named_late_is_mourned_by_how_it_ended() {
    let ends = [
        (DetachReason::TakenOver, 1),
        (DetachReason::WillDue, 1),
        (DetachReason::Moved, 0),
        (DetachReason::ByClient, 0),
    ];
    for (reason, wills) in ends {
        let (mut w, epoch) = named_late();
        w.detach_session(A, "c", epoch, reason);
        assert_eq!(published(&mut w), wills, "{reason:?}");
        // Its proxy does not know that this was heard.
        w.lose_link(A);
        w.attach(A);
        w.operate(A, named(epoch));
        w.detach_session(A, "c", epoch, reason);
        w.pass_ms_with(60_000, &[A, B]);
        assert_eq!(published(&mut w), 0, "{reason:?}, again");
    }
}

#[test]
fn a_connection_that_is_named_late_by_a_proxy_that_is_lost_is_not_mourned() {
    let (mut w, _) = named_late();
    let bytes = |w: &World| {
        w.core
            .stats()
            .shards
            .iter()
            .map(|s| s.gauges.session_bytes)
            .sum::<u64>()
    };
    let with_will = bytes(&w);
    w.pass_ms_with(60_000, &[B]);
    assert_eq!(published(&mut w), 0);
    assert_eq!(w.core.stats().shards[0].counters.wills_dropped_total, 1);
    assert!(bytes(&w) < with_will);
}

#[test]
fn a_connection_that_is_named_with_its_end_is_mourned_once_however_often_its_proxy_says_so() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "will/#");
    let epoch = SessionEpoch {
        term: Term(50),
        counter: 1,
    };
    for _ in 0..3 {
        w.operate(A, named(epoch));
        w.detach_session(A, "c", epoch, DetachReason::WillDue);
        w.lose_link(A);
        w.attach(A);
    }
    assert_eq!(published(&mut w), 1);
}

#[test]
fn of_two_proxies_that_name_a_client_the_will_of_the_older_is_published() {
    let mut w = world();
    for proxy in [A, B, C] {
        w.attach(proxy);
    }
    w.subscribe(B, 1, "will/#");
    for (proxy, counter, will) in [(A, 1, will(0)), (C, 2, None)] {
        let epoch = SessionEpoch {
            term: Term(50),
            counter,
        };
        let named = RegisteredSession {
            client_id: Bytes::from_static(b"c"),
            epoch,
            will,
            session_expiry_interval_s: 0,
            session: None,
        };
        w.operate(
            proxy,
            Operation::RegisterSessions {
                shard: S0,
                sessions: vec![named],
            },
        );
    }
    let older = SessionEpoch {
        term: Term(50),
        counter: 1,
    };
    assert_eq!(published(&mut w), 0);
    w.detach_session(A, "c", older, DetachReason::TakenOver);
    assert_eq!(published(&mut w), 1);
}
