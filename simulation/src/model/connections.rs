//! Who is let in, and who is thrown out: one connection for each client id, and nobody without a reason.

use freshet_mqtt::ReasonCode;

use crate::history::{At, Broken, Connection, Fault, History, How, Request};
use crate::violation::Violation;

/// How long an answer is held while storage cannot give it, ms.
const HOLD_MS: u64 = 30_000;
/// By how much later than asked a session may be found expired, ms.
const EXPIRY_SLACK_MS: u64 = 1_000;

pub(super) fn judge(history: &History) -> Result<(), Violation> {
    for (number, connection) in history.connections.iter().enumerate() {
        judge_connection(history, connection)
            .map_err(|(rule, seen)| Violation::new(rule, format!("connection {number}: {seen}")))?;
    }
    one_connection_for_each_client(history)
}

type Broke = (&'static str, String);

fn judge_connection(history: &History, connection: &Connection) -> Result<(), Broke> {
    has_the_session_that_it_is_told(history, connection)?;
    if connection.accepted.is_none() && connection.ended.is_none() {
        return Err(("CONNECT is answered", "it was not".to_owned()));
    }
    if let Some(code) = connection.refused
        && !(code == ReasonCode::ServerUnavailable && was_held(history, connection))
    {
        return Err(("a valid CONNECT is accepted", format!("{code:?}")));
    }
    if let Some(ended) = connection.ended
        && ended.how == How::ByServer
    {
        has_reason_to_end(history, connection, ended.at)?;
    }
    Ok(())
}

/// Session Present is said when there is a session, and only then (MQTT-3.2.2-2, MQTT-3.2.2-3).
fn has_the_session_that_it_is_told(history: &History, connection: &Connection) -> Result<(), Broke> {
    let Some(accepted) = connection.accepted else {
        return Ok(());
    };
    let rule = "session present means that there is one";
    let mut earlier = history
        .connections
        .iter()
        .filter(|c| c.identity == connection.identity && c.opened < connection.opened);
    if accepted.session_present {
        if connection.clean_start {
            return Err((rule, "it began clean".to_owned()));
        }
        let earlier: Vec<&Connection> = earlier.collect();
        let is_last_known = one_after_another(&earlier, connection);
        let outlives = |c: &Connection| c.expiry_s > 0;
        let can_be = match earlier.last() {
            Some(last) if is_last_known => outlives(last),
            _ => earlier.iter().any(|c| outlives(c)),
        };
        // A proxy that was given up asks again, and finds what it had begun. Storage that came back does not know which
        // connections it had.
        let proxy = connection.proxy;
        let since = earlier.last().map_or(connection.opened, |last| last.opened);
        let is_asked_again = history.has_broken(|b| b == (Broken::Lease { proxy }), connection.opened, accepted.at)
            || history.has_broken(|b| b == Broken::StorageRestarted, since, accepted.at);
        // Storage that began without memory is told of a session that had ended by a proxy that could not be told.
        let is_named_again = earlier
            .iter()
            .any(|c| outlives(c) && history.forgot_without(c.proxy, since, accepted.at));
        if let Some(last) = earlier.last().filter(|_| is_last_known && !history.has_any_broken())
            && last.all_read.is_some_and(|at| at < connection.opened)
            && connection.opened_ms > last.all_read_ms + u64::from(last.expiry_s) * 1_000 + EXPIRY_SLACK_MS
        {
            return Err((rule, format!("it had expired: {last:?}")));
        }
        if !can_be && !is_asked_again && !is_named_again {
            return Err((rule, "none was to outlive its connection".to_owned()));
        }
        return Ok(());
    }
    let Some(last) = earlier.next_back() else { return Ok(()) };
    let (Some(_), Some(ended)) = (last.accepted, last.ended) else {
        return Ok(());
    };
    let forgotten = |b| b == Broken::Storage;
    // A proxy that cannot be reached or has died is given up for lost, and its connections with it. A client that does
    // not read learns of it later.
    let proxy = last.proxy;
    let is_away = |what| what == (Broken::Streams { proxy }) || what == (Broken::Proxy { proxy });
    let unreachable = |f: &&Fault| f.at > last.opened && is_away(f.what);
    let unreachable_ms = history.faults.iter().find(unreachable).map_or(u64::MAX, |f| f.ms);
    let gone_ms = ended.ms.min(unreachable_ms);
    let is_certain = !connection.clean_start
        && accepted.ms.saturating_sub(gone_ms) < u64::from(last.expiry_s) * 1_000
        && !history.has_broken(forgotten, last.opened, accepted.at)
        && is_surely_told(history, last)
        // A proxy that was given up may have had the session for this connection already.
        && (connection.expiry_s >= last.expiry_s || !history.has_any_broken())
        // Another device may have come first.
        && !history.connections.iter().any(|c| {
            c.identity == connection.identity && c.opened > connection.opened && c.opened < accepted.at
        })
        // A connection of another device may still be under way, and shorten the session, or end it, when it comes.
        && earlier.all(|c| {
            c.accepted.is_some() && c.all_read.is_some_and(|at| at < last.opened)
                || !c.clean_start && c.expiry_s >= last.expiry_s
        });
    if is_certain {
        return Err((
            "a session outlives its connection",
            format!("it was told of none; {last:?}"),
        ));
    }
    Ok(())
}

/// Whether storage knows that the client was told of its session, or nothing has kept that from it. A session that nothing is
/// in may be none to the next connection until then.
fn is_surely_told(history: &History, connection: &Connection) -> bool {
    let Some(accepted) = connection.accepted.filter(|accepted| !accepted.session_present) else {
        return true;
    };
    let is_kept = |r: &Request| r.options.is_some() && r.answered.is_some_and(|a| !a.code.is_error());
    history.requests_of(accepted.session).any(is_kept) || !history.has_any_broken()
}

/// Whether each connection was accepted before the next one began, so that all know which was the last.
fn one_after_another(earlier: &[&Connection], last: &Connection) -> bool {
    let next = earlier.iter().skip(1).copied().chain([last]);
    let mut pairs = earlier.iter().zip(next);
    pairs.all(|(before, next)| before.accepted.is_some_and(|a| a.at < next.opened))
}

/// The server ends connections that were taken over, and those that it could not serve for a long time; it says which.
fn has_reason_to_end(history: &History, connection: &Connection, ended: At) -> Result<(), Broke> {
    let others = |c: &&Connection| c.identity == connection.identity && c.opened != connection.opened;
    let is_taken_over = history.connections.iter().filter(others).any(|c| c.opened < ended);
    // Storage forgot the proxy, or the proxy came late to storage without memory: what was sent to its clients
    // meanwhile is lost, and they are told.
    let forgotten = |b| {
        b == Broken::Storage
            || b == (Broken::Lease {
                proxy: connection.proxy,
            })
    };
    let has_lost = history.has_broken(forgotten, connection.opened, ended)
        || history.came_late(connection.proxy, connection.opened, ended)
        || history.comes_late(connection.proxy, connection.opened_ms, connection.opened);
    // An attach that was asked again may have been granted twice.
    let asked_again = connection.accepted.is_none()
        || history.has_broken(
            |b| {
                b == (Broken::Streams {
                    proxy: connection.proxy,
                }) || b == Broken::Storage
            },
            connection.opened,
            ended,
        );
    let was_held = was_held(history, connection);
    let explained = match connection.told {
        Some(ReasonCode::SessionTakenOver) => is_taken_over || asked_again && has_lost,
        Some(ReasonCode::QuotaExceeded) => has_lost,
        Some(ReasonCode::ServerUnavailable | ReasonCode::ServerBusy) => was_held,
        Some(_) => false,
        // 3.1.1 is told nothing, and what 5.0 was told may not have been read.
        None => is_taken_over || has_lost || was_held,
    };
    if explained {
        return Ok(());
    }
    let told = connection.told;
    Err(("nobody is thrown out without a reason", format!("told {told:?}")))
}

/// What the client asked may have waited for storage for as long as anything is held.
fn was_held(history: &History, connection: &Connection) -> bool {
    let ended_ms = connection.ended.map_or(0, |e| e.ms);
    let is_away = |what| {
        matches!(
            what,
            Broken::Streams { .. } | Broken::Storage | Broken::StorageRestarted
        )
    };
    history
        .faults
        .iter()
        .any(|f| is_away(f.what) && ended_ms >= f.ms + HOLD_MS)
}

/// Of all connections of a client id one is alive at the end, at most (MQTT-3.1.4-3).
fn one_connection_for_each_client(history: &History) -> Result<(), Violation> {
    let alive: Vec<(usize, &Connection)> = history
        .connections
        .iter()
        .enumerate()
        .filter(|(_, c)| c.is_alive())
        .collect();
    for (at, (number, connection)) in alive.iter().enumerate() {
        let earlier = alive.iter().take(at).find(|(_, c)| c.identity == connection.identity);
        if let Some((earlier, _)) = earlier {
            return Err(Violation::new(
                "a client id has one connection",
                format!(
                    "connections {earlier} and {number} of c{} are both alive",
                    connection.identity
                ),
            ));
        }
    }
    Ok(())
}
