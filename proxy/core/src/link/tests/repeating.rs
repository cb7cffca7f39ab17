//! Publications that had no answer, told to storage that does not know the proxy.

use freshet_storage_contract::LastingNumbers;

use super::*;

/// The numbers of the publications that were sent.
fn numbers(out: &LinkOutputs) -> Vec<(PublishSeq, Option<LastingNumbers>)> {
    let batches = out.operations.iter().filter_map(|o| match o {
        Operation::Publish(batch) => Some((batch.first, batch.lasting)),
        _ => None,
    });
    batches.collect()
}

#[test]
fn what_had_no_answer_is_known_by_the_same_number_in_the_next_incarnation() {
    let (mut link, mut out) = attached_link();
    let origin = link.attach_frame().incarnation;
    let ticket = PublishTicket(1);
    let message = message("a").into();
    link.handle_worker(WORKER, ToLink::Publish { ticket, message }, &mut out);
    link.flush(&mut out);
    let first = LastingNumbers {
        origin,
        first: 1,
        oldest: 1,
    };
    assert_eq!(numbers(&out), [(PublishSeq(1), Some(first))]);
    link.lost(&mut out);
    link.start_incarnation(IncarnationId(8));
    out = LinkOutputs::new(2);
    link.attached(&welcome(Term(20), 0, 0), MonotonicMs(9_000), &mut out)
        .unwrap();
    link.flush(&mut out);
    assert_eq!(numbers(&out), [(PublishSeq(1), Some(first))]);
}

#[test]
fn a_client_that_connects_meanwhile_is_asked_for_behind_the_sessions_that_are_named() {
    let (mut link, mut out) = attached_link();
    link.lost(&mut out);
    out = LinkOutputs::new(2);
    link.attached(&welcome(Term(20), 0, 0), MonotonicMs(9_000), &mut out)
        .unwrap();
    let attach = ToLink::AttachSession {
        request: request_id(WORKER, 1),
        client_id: Bytes::from_static(b"c"),
        clean_start: true,
        session_expiry_interval_s: 0,
        will: None,
    };
    link.handle_worker(WORKER, attach, &mut out);
    for worker in [1, 0] {
        link.flush(&mut out);
        let is_attach = |o: &Operation| matches!(o, Operation::AttachSession(_));
        assert!(!out.operations.iter().any(is_attach), "{:?}", out.operations);
        let (shard, sessions) = (ShardId(0), Vec::new());
        link.handle_worker(WorkerId(worker), ToLink::RegisterSessions { shard, sessions }, &mut out);
    }
    link.flush(&mut out);
    let sent = |o: &Operation| match o {
        Operation::RegisterSessions { .. } => Some("named"),
        Operation::AttachSession(_) => Some("asked"),
        _ => None,
    };
    let order: Vec<_> = out.operations.iter().filter_map(sent).collect();
    assert_eq!(order, ["named", "named", "asked"]);
}
