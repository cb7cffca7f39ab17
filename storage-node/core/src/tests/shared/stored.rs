//! Groups with members that are stored sessions: what waits for them while nobody is connected, and QoS 2 messages that
//! stay with the member they were sent to.

use freshet_storage_contract::{Fetch, FetchedMessage, OutboundStage, PacketId, Position, SessionChange};

use super::*;
use crate::tests::stored::subscription;

const GROUP: &str = "$share/g/a";

fn qos_2(topic: &str, payload: &str) -> Message {
    message(topic, payload, QoS::ExactlyOnce)
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

impl World {
    /// A client subscribes to the group with a session that is stored; its proxy has it for a member.
    fn begin_member(&mut self, proxy: u128, client: &str) -> SessionEpoch {
        let epoch = self.begin(proxy, 1, client);
        self.share(proxy, 1, ("g", "a"), 1, 10);
        let starts = self.ensure(proxy, client, GROUP);
        let answer = self.update(proxy, client, epoch, vec![subscription(GROUP, starts)]);
        assert!(matches!(answer, Answer::SessionUpdated { .. }), "{answer:?}");
        epoch
    }

    fn leave(&mut self, proxy: u128, client: &str, epoch: SessionEpoch) {
        self.unshare(proxy, 1, "a");
        self.detach_session(proxy, client, epoch, DetachReason::WillDue);
    }

    /// The member takes a message for itself.
    fn take_for_itself(&mut self, proxy: u128, client: &str, epoch: SessionEpoch, leased: &Leased) -> Answer {
        let sending = SessionChange::Sending {
            packet_id: packet_id(3),
            shard: S0,
            position: leased.lease.position,
            qos: QoS::ExactlyOnce,
            shared: Some(Bytes::from_static(GROUP.as_bytes())),
            message: None,
        };
        self.update(proxy, client, epoch, vec![sending])
    }

    fn fetch_payloads(&mut self, proxy: u128, position: Position) -> Vec<String> {
        self.take_deliveries(proxy);
        let fetch = Fetch {
            request: RequestId(9),
            shard: S0,
            positions: vec![position],
        };
        self.operate(proxy, Operation::Fetch(fetch));
        let payload = |m: FetchedMessage| String::from_utf8(m.message.payload.to_vec()).unwrap();
        match self.take_deliveries(proxy).pop() {
            Some(Delivery::Fetched { messages, .. }) => messages.into_iter().map(payload).collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
pub(in crate::tests) fn while_no_member_is_connected_messages_wait_for_a_stored_one() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin_member(A, "c");
    w.publish(B, qos_1("a", "1"));
    w.leave(A, "c", epoch);
    w.publish(B, qos_1("a", "2"));
    assert_eq!(w.take_leased(A).len(), 1, "the first one, before it left");
    assert_eq!((gauges(&w).queued_rows, gauges(&w).shared_groups_online), (2, 0));
    w.share(B, 5, ("g", "a"), 1, 10);
    assert_eq!(payloads(&w.take_leased(B)), ["1", "2"], "any member gets them");
}

#[test]
fn a_group_ends_with_its_last_stored_member() {
    let mut w = world();
    w.attach(A);
    let first = w.begin_member(A, "c");
    let second = w.begin_member(A, "d");
    w.leave(A, "c", first);
    w.detach_session(A, "d", second, DetachReason::WillDue);
    w.publish(A, qos_1("a", "1"));
    let (epoch, _) = w.resume(A, 2, "c");
    let gone = SessionChange::Unsubscribe {
        topic_filter: Bytes::from_static(GROUP.as_bytes()),
    };
    w.update(A, "c", epoch, vec![gone]);
    assert_eq!((gauges(&w).shared_groups, gauges(&w).queued_rows), (1, 1));
    w.pass_ms_with(1_001_000, &[A]);
    let left = gauges(&w);
    assert_eq!((left.shared_groups, left.queued_rows, left.interest_bytes), (0, 0, 0));
}

#[test]
fn a_group_that_no_session_names_in_time_is_not_kept() {
    let mut w = world();
    w.attach(A);
    w.ensure(A, "c", GROUP);
    w.publish(A, qos_1("a", "1"));
    assert_eq!(gauges(&w).queued_rows, 1);
    w.pass_ms_with(61_000, &[A]);
    assert_eq!((gauges(&w).shared_groups, gauges(&w).queued_rows), (0, 0));
}

#[test]
fn a_queue_subscription_is_the_group_of_that_name() {
    let mut w = world();
    w.attach(A);
    w.ensure(A, "c", "$queue/a");
    w.ensure(A, "c", "$share/$queue/a");
    assert_eq!(gauges(&w).shared_groups, 1);
    w.publish(A, qos_1("a", "1"));
    w.share(A, 4, ("$queue", "a"), 1, 1);
    assert_eq!(payloads(&w.take_leased(A)), ["1"]);
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-4"))]
pub(in crate::tests) fn a_qos_2_message_that_was_sent_stays_with_its_member() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin_member(A, "c");
    w.publish(B, qos_2("a", "1"));
    let leased = w.take_leased(A);
    w.take_for_itself(A, "c", epoch, &leased[0]);
    let now = gauges(&w);
    assert_eq!((now.shared_leases, now.queued_rows, now.shared_kept), (0, 0, 1));
    assert!(now.queued_bytes > 0);
    w.share(B, 5, ("g", "a"), 1, 10);
    w.leave(A, "c", epoch);
    assert!(w.take_leased(B).is_empty(), "nobody else gets it");
    let (epoch, session) = w.resume(B, 2, "c");
    assert_eq!(session.outbound.len(), 1);
    assert_eq!(session.outbound[0].stage, OutboundStage::Sent);
    assert_eq!(session.outbound[0].shared.as_deref(), Some(GROUP.as_bytes()));
    assert_eq!(w.fetch_payloads(B, session.outbound[0].position), ["1"]);
    w.update(
        B,
        "c",
        epoch,
        vec![SessionChange::Received {
            packet_id: packet_id(3),
        }],
    );
    assert_eq!(
        (gauges(&w).shared_kept, gauges(&w).queued_bytes),
        (0, 0),
        "it is never sent again"
    );
    w.update(
        B,
        "c",
        epoch,
        vec![SessionChange::Completed {
            packet_id: packet_id(3),
        }],
    );
    assert_eq!(gauges(&w).shared_kept, 0);
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-5"))]
pub(in crate::tests) fn what_a_session_had_taken_goes_with_it() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin_member(A, "c");
    w.publish(A, qos_2("a", "1"));
    let leased = w.take_leased(A);
    w.take_for_itself(A, "c", epoch, &leased[0]);
    w.leave(A, "c", epoch);
    assert_eq!(gauges(&w).shared_kept, 1);
    w.pass_ms_with(1_001_000, &[A]);
    assert_eq!((gauges(&w).shared_kept, gauges(&w).queued_bytes), (0, 0));
}

#[test]
pub(in crate::tests) fn a_connection_that_was_taken_over_takes_nothing() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin_member(A, "c");
    w.publish(B, qos_2("a", "1"));
    let leased = w.take_leased(A);
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.resume(B, 2, "c");
    let answer = w.take_for_itself(A, "c", epoch, &leased[0]);
    assert!(matches!(answer, Answer::UpdateRefused { .. }), "{answer:?}");
    assert_eq!((gauges(&w).shared_kept, gauges(&w).shared_leases), (0, 1));
    w.settle_all(A, &leased, Settlement::Returned);
    assert_eq!(payloads(&w.take_leased(A)), ["1"]);
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-4"))]
fn what_a_session_is_about_to_take_goes_to_nobody_else_while_its_proxy_holds_the_group() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin_member(A, "c");
    w.publish(B, qos_2("a", "1"));
    let leased = w.take_leased(A);
    w.share(B, 5, ("g", "a"), 1, 10);
    // Its last member has gone, which a proxy without room for more says before the change of the session.
    w.share(A, 1, ("g", "a"), 1, 0);
    w.publish(A, qos_1("a", "2"));
    w.take_for_itself(A, "c", epoch, &leased[0]);
    w.leave(A, "c", epoch);
    assert_eq!(payloads(&w.take_leased(B)), ["2"], "the first one is the session's");
    let (_, session) = w.resume(B, 2, "c");
    assert_eq!(session.outbound.len(), 1);
}
