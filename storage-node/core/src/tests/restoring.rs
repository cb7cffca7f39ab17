//! A log that a node goes on from is whole, or the node says what is missing.

use freshet_storage_contract::Position;

use super::*;
use crate::{Restore, RestoreError};

type Record = (ShardId, Position, Bytes);

fn restore() -> Restore {
    Restore::new(settings(1)).unwrap()
}

/// A node with a disk, and what it has written there: it began a term, and three clients came.
fn node_with_records() -> (World, Vec<Record>) {
    let mut w = world();
    w.core = restore().finish(TERM, w.now);
    let mut records = Vec::new();
    flush(&mut w, &mut records);
    w.attach(A);
    for client in ["a", "b", "c"] {
        w.ask_session(A, 1, client, false, None);
        flush(&mut w, &mut records);
    }
    assert!(records.len() >= 4, "{records:?}");
    (w, records)
}

fn flush(w: &mut World, records: &mut Vec<Record>) {
    records.extend(w.core.take_records());
    let last = records.last().map(|(shard, position, _)| (*shard, *position));
    w.core.flushed(&[last.expect("a record")], w.now, &mut w.out);
    w.collect();
}

fn replay<'a>(restore: &mut Restore, records: impl IntoIterator<Item = &'a Record>) -> Result<u64, RestoreError> {
    let mut applied = 0;
    for (shard, position, bytes) in records {
        applied += u64::from(restore.record(*shard, *position, bytes.clone())?);
    }
    Ok(applied)
}

#[test]
fn a_whole_log_is_taken_and_what_comes_twice_is_passed_over() {
    let (w, records) = node_with_records();
    let mut restore = restore();
    assert_eq!(replay(&mut restore, &records), Ok(records.len() as u64));
    assert_eq!(replay(&mut restore, &records), Ok(0));
    let again = restore.finish(TERM, w.now);
    assert!(again.term() > w.core.term());
    assert_eq!(again.stats().shards[0].gauges.sessions_stored, 3);
}

#[test]
fn a_log_without_a_record_in_its_middle_is_refused_with_the_positions_around_it() {
    let (_, records) = node_with_records();
    for missing in 1..records.len() - 1 {
        let rest = records
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != missing)
            .map(|(_, record)| record);
        let (shard, known, found) = (S0, records[missing - 1].1, records[missing + 1].1);
        let error = RestoreError::Missing { shard, known, found };
        let text = error.to_string();
        assert!(
            text.contains(&known.to_string()) && text.contains(&found.to_string()),
            "{text}"
        );
        assert_eq!(replay(&mut restore(), rest), Err(error));
    }
}

#[test]
fn a_log_without_its_beginning_is_refused_also_where_a_later_life_began() {
    let (w, mut records) = node_with_records();
    let mut later = restore();
    replay(&mut later, &records).unwrap();
    let mut later = later.finish(TERM, w.now);
    let first_of_later = records.len();
    records.extend(later.take_records());
    assert!(records.len() > first_of_later);
    for first in 1..records.len() {
        let (shard, known, found) = (S0, Position(0), records[first].1);
        let refused = replay(&mut restore(), &records[first..]);
        assert_eq!(
            refused,
            Err(RestoreError::Missing { shard, known, found }),
            "from {first} on"
        );
    }
}

#[test]
fn a_log_that_does_not_reach_back_to_the_checkpoint_is_refused() {
    let (mut w, mut records) = node_with_records();
    let mut rows = Vec::new();
    let applied = w
        .core
        .take_changes(1_000, |shard, key, value| rows.push((shard, key, value)));
    assert_eq!(applied, Some(vec![(S0, records.last().unwrap().1)]));
    let covered = records.len();
    for client in ["d", "e"] {
        w.ask_session(A, 1, client, false, None);
        flush(&mut w, &mut records);
    }
    let from_rows = || {
        let mut restore = restore();
        let mut rows: Vec<_> = rows
            .iter()
            .filter_map(|(s, k, v)| Some((*s, k.clone(), v.clone()?)))
            .collect();
        rows.sort();
        for (shard, key, value) in rows {
            restore.row(shard, key, &value).unwrap();
        }
        restore
    };
    assert!(replay(&mut from_rows(), &records[covered..]).is_ok());
    let (shard, known, found) = (S0, records[covered - 1].1, records[covered + 1].1);
    let refused = replay(&mut from_rows(), &records[covered + 1..]);
    assert_eq!(refused, Err(RestoreError::Missing { shard, known, found }));
}

#[test]
fn what_is_flushed_is_shown_beside_what_was_proposed() {
    let (mut w, mut records) = node_with_records();
    let positions = |w: &World| {
        let (shard, positions) = w.core.inspect_positions().next().unwrap();
        assert_eq!(shard, S0);
        (positions.proposed.0, positions.flushed.unwrap().0, positions.applied.0)
    };
    let last = records.last().unwrap().1.0;
    assert_eq!(positions(&w), (last, last, last));
    w.ask_session(A, 1, "d", false, None);
    let (proposed, ..) = positions(&w);
    assert!(proposed > last);
    assert_eq!(positions(&w), (proposed, last, last));
    flush(&mut w, &mut records);
    assert_eq!(positions(&w), (proposed, proposed, proposed));
}

#[test]
fn a_renewal_is_answered_when_what_came_before_it_is_safe() {
    let (mut w, mut records) = node_with_records();
    w.attach(B);
    w.ask_session(A, 1, "d", false, None);
    records.extend(w.core.take_records());
    let earlier = records.last().unwrap().1;
    w.ask_session(A, 1, "e", false, None);
    for proxy in [A, B] {
        w.operate(proxy, Operation::RenewLease);
    }
    w.core.flushed(&[(S0, earlier)], w.now, &mut w.out);
    w.collect();
    assert_eq!(w.take_answers(B), []);
    w.lose_link(A);
    w.take_answers(A);
    flush(&mut w, &mut records);
    assert_eq!(w.take_answers(B), [Answer::LeaseRenewed]);
    assert_eq!(w.take_answers(A), [], "nobody is there who waits for it");
}
