//! What was lost to clients that read too slowly or stay away too long, by what the proxies and storage count: one Event
//! now and then, however much it is, and never with a client's name.
//!
//! Called with what each process says in its metrics ([`read_losses`]), about once a minute, by whoever asks them. A
//! process that is asked for the first time has told what it lost to an earlier operator, or that is nobody's concern.

use std::collections::HashMap;
use std::time::Duration;

use super::Notice;

/// How often one kind of loss is told at most.
const TOLD_EVERY: Duration = Duration::from_secs(600);

/// What a process has counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Unsent QoS 1 and 2 messages of clean sessions that made room for newer ones (`slowConsumer: DropOldest`).
    pub dropped: u64,
    /// Connections that were closed because their clients read too slowly.
    pub closed: u64,
    /// Places in queues of sessions that were over a limit of `limits.session`.
    pub over_limit: u64,
    /// Places in queues that `storage.retention` let go.
    pub past_retention: u64,
}

impl Losses {
    /// What has come since `former`. A process that counts less than before has started anew.
    fn since(self, former: Self) -> Self {
        let since = |now: u64, former: u64| now.checked_sub(former).unwrap_or(now);
        Self {
            dropped: since(self.dropped, former.dropped),
            closed: since(self.closed, former.closed),
            over_limit: since(self.over_limit, former.over_limit),
            past_retention: since(self.past_retention, former.past_retention),
        }
    }
}

/// Finds the losses among the metrics of a proxy or a storage node. What is not there is none.
pub fn read_losses(metrics: &str) -> Losses {
    let mut losses = Losses::default();
    for line in metrics.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let sum = match series {
            "freshet_proxy_shed_total{reason=\"slow_consumer\"}" => &mut losses.dropped,
            "freshet_proxy_disconnects_total{reason=\"slow_consumer\"}" => &mut losses.closed,
            // Those whose messages have expired went as their publishers asked.
            "freshet_storage_queue_dropped_total{reason=\"queued_messages\"}"
            | "freshet_storage_queue_dropped_total{reason=\"queued_bytes\"}"
            | "freshet_storage_queue_dropped_total{reason=\"queued_age\"}" => &mut losses.over_limit,
            "freshet_storage_queue_dropped_total{reason=\"retention_age\"}"
            | "freshet_storage_queue_dropped_total{reason=\"retention_bytes\"}" => &mut losses.past_retention,
            _ => continue,
        };
        *sum = sum.saturating_add(value.parse().unwrap_or(0));
    }
    losses
}

/// What the processes of one cluster have lost and nobody has been told of.
#[derive(Debug, Default)]
pub struct LossTally {
    /// By the UID of the pod.
    known: HashMap<String, Losses>,
    untold: Losses,
    slow_told: Option<Duration>,
    limit_told: Option<Duration>,
    retention_told: Option<Duration>,
}

impl LossTally {
    /// Takes what a process has counted.
    pub fn take(&mut self, uid: &str, losses: Losses) {
        let Some(former) = self.known.insert(uid.to_owned(), losses) else {
            return;
        };
        let more = losses.since(former);
        let untold = &mut self.untold;
        untold.dropped = untold.dropped.saturating_add(more.dropped);
        untold.closed = untold.closed.saturating_add(more.closed);
        untold.over_limit = untold.over_limit.saturating_add(more.over_limit);
        untold.past_retention = untold.past_retention.saturating_add(more.past_retention);
    }

    /// Forgets processes that are no more.
    pub fn keep_only(&mut self, is_there: impl Fn(&str) -> bool) {
        self.known.retain(|uid, _| is_there(uid));
    }

    /// What is to be told now; `now` is counted from any fixed time.
    pub fn next_notices(&mut self, now: Duration) -> Vec<Notice> {
        let is_due = |told: Option<Duration>| told.is_none_or(|told| now.saturating_sub(told) >= TOLD_EVERY);
        let mut notices = Vec::new();
        let Losses {
            dropped,
            closed,
            over_limit,
            past_retention,
        } = self.untold;
        if dropped.max(closed) > 0 && is_due(self.slow_told) {
            self.slow_told = Some(now);
            (self.untold.dropped, self.untold.closed) = (0, 0);
            notices.push(Notice::warning("SlowConsumers", "Observe", slow_note(dropped, closed)));
        }
        if over_limit > 0 && is_due(self.limit_told) {
            self.limit_told = Some(now);
            self.untold.over_limit = 0;
            let note = format!(
                "{} were dropped for sessions over a limit of limits.session: their clients stay away, or read more \
                 slowly than they are sent to",
                counted(over_limit, "queued message")
            );
            notices.push(Notice::warning("QueuesOverLimit", "Observe", note));
        }
        if past_retention > 0 && is_due(self.retention_told) {
            self.retention_told = Some(now);
            self.untold.past_retention = 0;
            let note = format!(
                "storage.retention has let {} go, the oldest: they had waited for longer than maxAge, or all together came \
                 to more of the volume than maxBytesPercent",
                counted(past_retention, "queued message")
            );
            notices.push(Notice::warning("QueuesOverRetention", "Observe", note));
        }
        notices
    }
}

fn slow_note(dropped: u64, closed: u64) -> String {
    let mut what = Vec::new();
    if dropped > 0 {
        let dropped = counted(dropped, "unsent message");
        what.push(format!("{dropped} of clean sessions made room for newer ones"));
    }
    if closed > 0 {
        let closed = counted(closed, "connection");
        what.push(format!(
            "{closed} closed, and again when the client comes back as slow as it was"
        ));
    }
    format!(
        "clients read more slowly than they are sent to: {}; see mqtt.slowConsumer and limits.client.outboundBuffer. The log of \
         the proxies names clients that were closed",
        what.join("; ")
    )
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(dropped: u64, closed: u64, over_limit: u64) -> Losses {
        Losses {
            dropped,
            closed,
            over_limit,
            past_retention: 0,
        }
    }

    fn past_retention(past_retention: u64) -> Losses {
        Losses {
            past_retention,
            ..Losses::default()
        }
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    fn reasons(notices: &[Notice]) -> Vec<&str> {
        notices.iter().map(|notice| notice.reason.as_str()).collect()
    }

    /// A tally that knows one process, which has lost nothing.
    fn tally() -> LossTally {
        let mut tally = LossTally::default();
        tally.take("a", losses(0, 0, 0));
        tally
    }

    #[test]
    fn losses_are_found_among_the_metrics() {
        let proxy = "# TYPE freshet_proxy_shed counter\n\
                     freshet_proxy_shed_total{reason=\"outbound_buffer_full_qos0\"} 5\n\
                     freshet_proxy_shed_total{reason=\"slow_consumer\"} 7\n\
                     freshet_proxy_disconnects_total{reason=\"slow_consumer\"} 3\n\
                     freshet_proxy_disconnects_total{reason=\"taken_over\"} 9\n# EOF\n";
        assert_eq!(read_losses(proxy), losses(7, 3, 0));
        let storage = "freshet_storage_queue_dropped_total{reason=\"queued_messages\"} 1\n\
                       freshet_storage_queue_dropped_total{reason=\"queued_bytes\"} 20\n\
                       freshet_storage_queue_dropped_total{reason=\"queued_age\"} 300\n\
                       freshet_storage_queue_dropped_total{reason=\"message_expiry\"} 4000\n";
        assert_eq!(read_losses(storage), losses(0, 0, 321));
        let storage = "freshet_storage_queue_dropped_total{reason=\"retention_age\"} 50\n\
                       freshet_storage_queue_dropped_total{reason=\"retention_bytes\"} 6\n";
        assert_eq!(read_losses(storage), past_retention(56));
        for other in ["", "<html>", "freshet_proxy_shed_total{reason=\"slow_consumer\"} x\n"] {
            assert_eq!(read_losses(other), Losses::default(), "{other}");
        }
    }

    #[test]
    fn what_is_lost_is_told_at_once_and_then_every_ten_minutes_at_most() {
        let mut tally = tally();
        assert_eq!(tally.next_notices(minutes(0)), []);
        tally.take("a", losses(1, 0, 0));
        let told = tally.next_notices(minutes(1));
        assert_eq!(reasons(&told), ["SlowConsumers"]);
        assert!(told[0].is_warning);
        assert!(told[0].note.contains(" 1 unsent message of"), "{}", told[0].note);
        assert!(!told[0].note.contains("closed, and"), "{}", told[0].note);
        for minute in 2..11 {
            tally.take("a", losses(minute, minute, 0));
            assert_eq!(tally.next_notices(minutes(minute)), [], "minute {minute}");
        }
        let told = tally.next_notices(minutes(11));
        assert!(told[0].note.contains(" 9 unsent messages of"), "{}", told[0].note);
        assert!(told[0].note.contains(" 10 connections closed"), "{}", told[0].note);
        assert_eq!(tally.next_notices(minutes(30)), [], "nothing is told twice");
    }

    #[test]
    fn queues_over_their_limit_are_told_apart() {
        let mut tally = tally();
        tally.take("a", losses(0, 1, 0));
        let told = tally.next_notices(minutes(1));
        assert_eq!(reasons(&told), ["SlowConsumers"]);
        assert!(
            told[0]
                .note
                .contains("sent to: 1 connection closed, and again when the client comes back as slow as it was; see"),
            "{}",
            told[0].note
        );
        tally.take("a", losses(0, 1, 5));
        let told = tally.next_notices(minutes(2));
        assert_eq!(reasons(&told), ["QueuesOverLimit"]);
        assert!(told[0].note.starts_with("5 queued messages were"), "{}", told[0].note);
    }

    #[test]
    fn what_retention_lets_go_is_told_apart_and_as_seldom() {
        let mut tally = tally();
        tally.take("a", losses(0, 0, 5));
        assert_eq!(reasons(&tally.next_notices(minutes(1))), ["QueuesOverLimit"]);
        tally.take(
            "a",
            Losses {
                past_retention: 2,
                ..losses(0, 0, 5)
            },
        );
        let told = tally.next_notices(minutes(2));
        assert_eq!(reasons(&told), ["QueuesOverRetention"]);
        assert!(told[0].is_warning);
        assert!(told[0].note.contains(" 2 queued messages go"), "{}", told[0].note);
        tally.take(
            "a",
            Losses {
                past_retention: 3,
                ..losses(0, 0, 5)
            },
        );
        assert_eq!(tally.next_notices(minutes(11)), []);
        let told = tally.next_notices(minutes(12));
        assert!(told[0].note.contains(" 1 queued message go"), "{}", told[0].note);
    }

    #[test]
    fn what_an_operator_finds_when_it_starts_is_old() {
        let mut tally = LossTally::default();
        tally.take("a", losses(100, 100, 100));
        assert_eq!(tally.next_notices(minutes(1)), []);
    }

    #[test]
    fn a_process_that_started_anew_counts_from_nothing() {
        let mut tally = LossTally::default();
        tally.take("a", losses(100, 0, 0));
        tally.take("a", losses(2, 0, 0));
        let told = tally.next_notices(minutes(1));
        assert!(told[0].note.contains(" 2 unsent messages"), "{}", told[0].note);
    }

    #[test]
    fn processes_that_are_gone_are_forgotten() {
        let mut tally = tally();
        tally.take("b", losses(0, 0, 0));
        tally.keep_only(|uid| uid == "b");
        assert_eq!(tally.known.len(), 1);
    }
}
