//! Session present: true when a session must be there, false when none can be (MQTT 5.0, 3.2.2.1.1).
//!
//! Time is uncertain by what the network and a restart take: a session must be there while its interval has clearly not
//! passed, and must be gone when it clearly has and nothing was done to the broker meanwhile. One that nothing
//! is in may be gone when something was done to the broker just after it began: nobody may have kept that its client knows.

use std::collections::BTreeMap;

use super::index::{Connection, Index};
use super::{Rule, Violation};
use crate::history::Line;

/// How much of an interval may be in doubt, in microseconds.
const DOUBT_US: u64 = 1_000_000;
/// How much later than its interval a session is surely gone, in microseconds.
const SURELY_GONE_US: u64 = 5_000_000;

/// What a broker may know of a client id.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// There is a session, made or resumed on the connection of which this is known.
    There {
        expiry_s: u32,
        last_heard: Line,
        ended: Option<Line>,
        /// It began there, and nothing is in it.
        begun: Option<Line>,
        /// Somebody was not told whether the broker let them in later.
        is_vague: bool,
    },
    /// There may be one.
    Perhaps,
}

/// A CONNACK that says what it must not.
struct Wrong<'i, 'h> {
    connection: &'i Connection<'h>,
    line: Line,
    present: bool,
    because: &'static str,
    /// The session that there was before.
    before: Option<usize>,
}

pub(super) fn judge(index: &Index<'_>) -> Vec<Violation> {
    let violation = |wrong: Wrong<'_, '_>| Violation {
        rule: Rule::SessionPresent,
        client: wrong.connection.client_id.to_owned(),
        message: None,
        seen: format!("session present is {}: {}", wrong.present, wrong.because),
        lines: vec![wrong.connection.opening, wrong.line],
    };
    wrong(index).into_iter().map(violation).collect()
}

/// Sessions that were there no more though they had to be, by the one that was begun in their place.
pub(super) fn forgotten(index: &Index<'_>) -> BTreeMap<usize, usize> {
    let wrong = wrong(index).into_iter().filter(|wrong| !wrong.present);
    wrong
        .filter_map(|wrong| Some((wrong.connection.session?, wrong.before?)))
        .collect()
}

fn wrong<'i, 'h>(index: &'i Index<'h>) -> Vec<Wrong<'i, 'h>> {
    let mut found = Vec::new();
    let mut clients: BTreeMap<&str, (Option<Known>, Option<usize>)> = BTreeMap::new();
    for connection in index.connections.values() {
        let (known, session) = clients.entry(connection.client_id).or_default();
        let expected = expected(index, connection, *known);
        if let (Some((line, present)), Some((expected, because))) = (connection.accepted, expected)
            && present != expected
        {
            found.push(Wrong {
                connection,
                line,
                present,
                because,
                before: *session,
            });
        }
        *known = after(index, connection, *known);
        *session = connection.session.or(*session);
    }
    found
}

/// What CONNACK must say, and why; none: either.
fn expected(index: &Index<'_>, connection: &Connection<'_>, known: Option<Known>) -> Option<(bool, &'static str)> {
    if connection.clean_start {
        return Some((false, "the client asked for a new one"));
    }
    let Some(known) = known else {
        return Some((false, "the client was never there"));
    };
    let Known::There {
        expiry_s,
        last_heard,
        ended,
        begun,
        is_vague,
    } = known
    else {
        return None;
    };
    let (accepted, _) = connection.accepted?;
    let expiry_us = u64::from(expiry_s) * 1_000_000;
    if let Some(begun_us) = begun.map(|line| index.at_us(line))
        && index.has_trouble(begun_us, begun_us + DOUBT_US)
    {
        return None;
    }
    if index.at_us(accepted).saturating_sub(index.at_us(last_heard)) + DOUBT_US < expiry_us {
        return Some((true, "its interval has not passed"));
    }
    let (from_us, to_us) = (index.at_us(ended?), index.at_us(connection.opening));
    let is_gone = to_us.saturating_sub(from_us) > expiry_us + SURELY_GONE_US;
    (is_gone && !is_vague && !index.has_trouble(from_us, to_us)).then_some((false, "its interval has passed"))
}

/// What is known behind a connection.
fn after(index: &Index<'_>, connection: &Connection<'_>, known: Option<Known>) -> Option<Known> {
    if let Some((accepted, present)) = connection.accepted {
        return Some(Known::There {
            expiry_s: connection.expiry_s,
            last_heard: connection.last_heard,
            ended: connection.ended(),
            begun: Some(accepted).filter(|_| !present && !keeps_something(index, connection)),
            is_vague: false,
        });
    }
    match known {
        Some(Known::There {
            expiry_s,
            last_heard,
            ended,
            begun,
            ..
        }) if !connection.clean_start => Some(Known::There {
            expiry_s,
            last_heard,
            ended,
            begun,
            is_vague: true,
        }),
        _ => Some(Known::Perhaps),
    }
}

/// Whether a subscription was confirmed on a connection.
fn keeps_something(index: &Index<'_>, connection: &Connection<'_>) -> bool {
    let session = connection.session.and_then(|at| index.sessions.get(at));
    session.is_some_and(|session| {
        let mut own = session
            .subscriptions
            .iter()
            .filter(|s| s.connection == connection.number);
        own.any(|s| s.acknowledged.is_some())
    })
}
