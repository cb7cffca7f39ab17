//! Which wills are published, where, and when (MQTT 5.0, 3.1.2.5 and 3.1.3.2.2; `willGraceOnMove`).

mod named;

use freshet_storage_contract::RegisteredSession;

use super::*;

/// A world in which A holds client `c` with a will, and B has subscribed to it.
fn mourning(delay_interval_s: u32, shards: u16) -> (World, SessionEpoch) {
    let mut w = World::new(settings(shards));
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "will/#");
    let epoch = w.attach_session(A, 1, "c", will(delay_interval_s));
    (w, epoch)
}

fn will(delay_interval_s: u32) -> Option<Will> {
    Some(Will {
        message: qos_1("will/c", "gone"),
        delay_interval_s,
    })
}

/// A proxy names client `c`, with a will.
fn named(epoch: SessionEpoch) -> Operation {
    let session = RegisteredSession {
        client_id: Bytes::from_static(b"c"),
        epoch,
        will: will(0),
        session_expiry_interval_s: 0,
        session: None,
    };
    Operation::RegisterSessions {
        shard: S0,
        sessions: vec![session],
    }
}

fn published(w: &mut World) -> usize {
    let count = w.take_payloads(B).len();
    w.acknowledge(B);
    count
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-7", "5.0:3.1.2-8", "3.1.1:3.1.2-8"))]
fn a_will_is_published_when_the_connection_is_lost() {
    for shards in [1, 2, 3, 8] {
        let (mut w, epoch) = mourning(0, shards);
        w.detach_session(A, "c", epoch, DetachReason::WillDue);
        assert_eq!(w.take_payloads(B), ["gone"], "{shards} shards");
        let wills: u64 = w
            .core
            .stats()
            .shards
            .iter()
            .map(|s| s.counters.wills_published_total)
            .sum();
        assert_eq!(wills, 1);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-10", "5.0:3.14.4-3", "3.1.1:3.1.2-10", "3.1.1:3.14.4-3"))]
fn a_will_is_deleted_by_a_disconnect() {
    let (mut w, epoch) = mourning(0, 4);
    w.detach_session(A, "c", epoch, DetachReason::ByClient);
    w.pass_ms_with(60_000, &[A, B]);
    assert_eq!(published(&mut w), 0);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-10", "3.1.1:3.1.2-10"))]
fn a_will_is_published_once_whatever_becomes_of_its_session() {
    let (mut w, epoch) = mourning(0, 4);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    assert_eq!(published(&mut w), 1);
    let epoch = w.attach_session(A, 2, "c", None);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.pass_ms_with(2_000_000, &[A, B]);
    assert_eq!(published(&mut w), 0);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-8"))]
fn a_will_waits_for_its_delay() {
    let (mut w, epoch) = mourning(5, 4);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.pass_ms_with(4_999, &[A, B]);
    assert_eq!(published(&mut w), 0);
    w.pass_ms_with(1, &[A, B]);
    assert_eq!(published(&mut w), 1);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-8"))]
fn the_end_of_the_session_ends_the_delay() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "will/#");
    let attach = AttachSession {
        request: RequestId(1),
        client_id: Bytes::from_static(b"c"),
        clean_start: true,
        session_expiry_interval_s: 0,
        will: will(60).map(Box::new),
    };
    w.operate(A, Operation::AttachSession(attach));
    let Some(Answer::SessionAttached { epoch, .. }) = w.take_answers(A).pop() else {
        panic!()
    };
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    assert_eq!(published(&mut w), 1);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-8", "5.0:3.1.3-9"))]
fn a_client_that_is_back_before_the_delay_has_passed_is_not_mourned() {
    let (mut w, epoch) = mourning(5, 4);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.pass_ms(3_000);
    w.attach_session(B, 2, "c", None);
    w.pass_ms_with(10_000, &[A, B]);
    assert_eq!(published(&mut w), 0);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-4", "5.0:3.1.4-4"))]
fn a_clean_start_ends_the_session_and_publishes_the_will_that_waited() {
    let (mut w, epoch) = mourning(5, 4);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.ask_session(B, 2, "c", true, None);
    assert_eq!(published(&mut w), 1);
}

#[test]
fn a_takeover_publishes_a_will_without_delay() {
    let (mut w, epoch) = mourning(0, 4);
    w.ask_session(B, 2, "c", false, None);
    assert_eq!(published(&mut w), 0, "not before the old connection has ended");
    w.detach_session(A, "c", epoch, DetachReason::TakenOver);
    assert_eq!(published(&mut w), 1);
}

#[test]
fn a_takeover_that_continues_the_session_drops_a_delayed_will() {
    let (mut w, epoch) = mourning(5, 4);
    w.ask_session(B, 2, "c", false, None);
    w.detach_session(A, "c", epoch, DetachReason::TakenOver);
    w.pass_ms_with(10_000, &[A, B]);
    assert_eq!(published(&mut w), 0);
}

#[test]
fn a_takeover_with_clean_start_publishes_a_delayed_will() {
    let (mut w, epoch) = mourning(5, 4);
    w.ask_session(B, 2, "c", true, None);
    w.detach_session(A, "c", epoch, DetachReason::TakenOver);
    assert_eq!(published(&mut w), 1);
}

#[test]
fn a_disconnect_that_crosses_a_takeover_still_deletes_the_will() {
    let (mut w, epoch) = mourning(0, 4);
    w.ask_session(B, 2, "c", true, None);
    w.detach_session(A, "c", epoch, DetachReason::ByClient);
    assert!(matches!(w.take_answers(B)[..], [Answer::SessionAttached { .. }]));
    assert_eq!(published(&mut w), 0);
}

#[test]
fn the_will_of_a_moved_client_waits_for_the_grace() {
    let (mut w, epoch) = mourning(0, 4);
    w.detach_session(A, "c", epoch, DetachReason::Moved);
    w.pass_ms_with(29_999, &[A, B]);
    assert_eq!(published(&mut w), 0);
    w.pass_ms_with(1, &[A, B]);
    assert_eq!(published(&mut w), 1);
}

#[test]
fn a_moved_client_that_attaches_again_is_not_mourned_whatever_its_clean_start() {
    for clean_start in [false, true] {
        let (mut w, epoch) = mourning(0, 4);
        w.detach_session(A, "c", epoch, DetachReason::Moved);
        w.pass_ms(1_000);
        w.ask_session(B, 2, "c", clean_start, None);
        w.pass_ms_with(60_000, &[A, B]);
        assert_eq!(published(&mut w), 0);
    }
}

#[test]
fn clients_of_a_lost_proxy_are_mourned_after_the_grace() {
    let (mut w, _) = mourning(0, 4);
    w.pass_ms_with(6_000 + 29_999, &[B]);
    assert_eq!(published(&mut w), 0);
    w.pass_ms_with(1, &[B]);
    assert_eq!(published(&mut w), 1);
}

#[test]
fn while_no_proxy_is_heard_nobody_is_mourned_and_then_not_before_the_grace() {
    let (mut w, _) = mourning(0, 4);
    w.pass_ms_with(60_000, &[]);
    assert_eq!(
        w.core
            .stats()
            .shards
            .iter()
            .map(|s| s.gauges.wills_waiting)
            .sum::<u64>(),
        1
    );
    w.attach(C);
    w.subscribe(C, 1, "will/#");
    w.pass_ms_with(29_999, &[C]);
    assert_eq!(w.take_payloads(C), [""; 0]);
    w.pass_ms_with(1, &[C]);
    assert_eq!(w.take_payloads(C), ["gone"], "once");
    w.pass_ms_with(60_000, &[C]);
    assert_eq!(w.take_payloads(C), [""; 0]);
}

#[test]
fn a_client_that_a_proxy_names_behind_the_silence_of_all_is_not_mourned() {
    let (mut w, epoch) = mourning(0, 1);
    w.pass_ms_with(60_000, &[]);
    w.attach(C);
    w.subscribe(C, 1, "will/#");
    w.operate(C, named(epoch));
    w.pass_ms_with(60_000, &[C]);
    assert_eq!(w.take_payloads(C), [""; 0]);
    w.detach_session(C, "c", epoch, DetachReason::WillDue);
    assert_eq!(w.take_payloads(C), ["gone"]);
}

#[test]
fn a_client_of_a_lost_proxy_that_attaches_elsewhere_is_not_mourned() {
    let (mut w, _) = mourning(0, 4);
    w.lose_link(A);
    w.attach_session(B, 2, "c", None);
    w.pass_ms_with(60_000, &[B]);
    assert_eq!(published(&mut w), 0);
}

#[test]
fn a_proxy_that_comes_back_under_a_new_name_drops_the_wills_of_its_clients() {
    let (mut w, epoch) = mourning(0, 1);
    w.pass_ms_with(7_000, &[B]);
    assert_eq!(w.core.stats().shards[0].gauges.wills_waiting, 1);
    w.attach(C);
    w.operate(C, named(epoch));
    w.pass_ms_with(60_000, &[B, C]);
    assert_eq!(published(&mut w), 0);
    w.detach_session(C, "c", epoch, DetachReason::WillDue);
    assert_eq!(published(&mut w), 1, "the will it named acts");
}

#[test]
fn a_disconnect_after_the_lease_had_ended_still_deletes_the_will() {
    let (mut w, epoch) = mourning(0, 1);
    w.pass_ms_with(7_000, &[B]);
    w.attach(C);
    w.detach_session(C, "c", epoch, DetachReason::ByClient);
    w.pass_ms_with(60_000, &[B, C]);
    assert_eq!(published(&mut w), 0);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-15", "3.1.1:3.1.2-17"))]
fn a_will_with_retain_is_stored() {
    for shards in [1, 4] {
        let mut w = World::new(settings(shards));
        w.attach(A);
        let will = Will {
            message: retained("will/c", "gone"),
            delay_interval_s: 0,
        };
        let epoch = w.attach_session(A, 1, "c", Some(will));
        w.detach_session(A, "c", epoch, DetachReason::WillDue);
        let stored: u64 = w.core.stats().shards.iter().map(|s| s.gauges.retained_messages).sum();
        assert_eq!(stored, 1);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-14", "3.1.1:3.1.2-16"))]
fn a_will_without_retain_is_not_stored() {
    let (mut w, epoch) = mourning(0, 4);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    assert_eq!(published(&mut w), 1);
    let stored: u64 = w.core.stats().shards.iter().map(|s| s.gauges.retained_messages).sum();
    assert_eq!(stored, 0);
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.1.2-12"))]
fn nobody_is_mourned_who_left_no_will() {
    let mut w = World::new(settings(4));
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "#");
    let epoch = w.attach_session(A, 1, "c", None);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.pass_ms_with(60_000, &[A, B]);
    assert_eq!(published(&mut w), 0);
}

#[test]
fn a_will_beyond_the_limit_of_retained_messages_is_neither_stored_nor_delivered() {
    let mut limited = settings(4);
    limited.retained_limits.bytes = 10;
    let mut w = World::new(limited);
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "#");
    let will = Will {
        message: retained("will/c", "gone"),
        delay_interval_s: 0,
    };
    let epoch = w.attach_session(A, 1, "c", Some(will));
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    assert_eq!(published(&mut w), 0);
    let refused: u64 = w
        .core
        .stats()
        .shards
        .iter()
        .map(|s| s.counters.retained_refused_total)
        .sum();
    assert_eq!(refused, 1);
}

#[test]
fn a_will_waits_for_the_recovery_hold() {
    let mut w = World::new(StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(4)
    });
    w.attach(A);
    w.attach(B);
    let epoch = SessionEpoch {
        term: Term(50),
        counter: 1,
    };
    let named = RegisteredSession {
        client_id: Bytes::from_static(b"c"),
        epoch,
        will: will(0),
        session_expiry_interval_s: 0,
        session: None,
    };
    let (shard, sessions) = (w.placement.shard_of_client(b"c"), vec![named]);
    w.operate(A, Operation::RegisterSessions { shard, sessions });
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.subscribe(B, 1, "will/#");
    assert_eq!(published(&mut w), 0);
    w.pass_ms(1_000);
    assert_eq!(published(&mut w), 1);
}

#[test]
fn many_wills_are_published_in_parts() {
    let mut w = world();
    w.attach(A);
    let clients = 3_000;
    for client in 0..clients {
        let epoch = w.attach_session(A, client, &format!("c{client}"), will(1));
        w.detach_session(A, &format!("c{client}"), epoch, DetachReason::WillDue);
    }
    w.now = MonotonicMs(w.now.0 + 1_000);
    w.core.tick(w.now, &mut w.out);
    let waiting = w.core.stats().shards[0].gauges.wills_waiting;
    assert!(waiting > 0 && waiting < clients, "{waiting}");
    w.pass_ms(1);
    assert_eq!(w.core.stats().shards[0].counters.wills_published_total, clients);
    assert_eq!(w.core.stats().shards[0].gauges.wills_waiting, 0);
}

#[test]
fn a_will_whose_topic_is_no_text_is_dropped() {
    let mut w = world();
    w.attach(A);
    let mut will = will(0).unwrap();
    will.message.topic_name = Bytes::from_static(b"will/\xff");
    let epoch = w.attach_session(A, 1, "c", Some(will));
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    let counters = w.core.stats().shards[0].counters;
    assert_eq!((counters.wills_dropped_total, counters.wills_published_total), (1, 0));
}
