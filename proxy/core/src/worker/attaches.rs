//! How many sessions a worker asks storage for at once, so that clients that all come back leave storage to those that
//! are in.
//!
//! Attaches and publications stand in the same queue of storage: what is asked for beyond what storage answers soon
//! would only keep publications waiting. So the window follows how long answers take, and the other clients wait here,
//! in the order in which they came. Who would wait too long is refused before anything is read from it
//! ([`Attaches::is_overrun`]). Leaves out the requests themselves ([`super::requests`]).

use std::collections::VecDeque;
use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

use super::token::ConnectionToken;

/// An answer that takes longer has waited behind others. Publications that came at the same time have waited as long.
const SOON: Duration = Duration::from_millis(20);
/// How often the window is looked at.
const ROUND: Duration = Duration::from_millis(50);
const FIRST_WINDOW: u32 = 64;
const SMALLEST_WINDOW: u32 = 4;
const LARGEST_WINDOW: u32 = 1_024;
/// Longest wait that a client is let in for. Stock clients wait 10 s or more for CONNACK, and count from before the
/// connection was taken.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Rounds over which the rate of answers is averaged.
const ROUNDS_OF_RATE: u64 = 8;

/// Attaches under way and connections that wait for theirs.
#[derive(Debug)]
pub(crate) struct Attaches {
    window: u32,
    under_way: u32,
    waiting: VecDeque<ConnectionToken>,
    round: Option<Round>,
    /// Answers per 1,000 s while there was always one to be asked for; none: not known yet.
    answers_per_ks: Option<u64>,
}

#[derive(Debug)]
struct Round {
    began: MonotonicMs,
    answered: u32,
    late: u32,
    /// Somebody waited throughout.
    was_full: bool,
}

impl Default for Attaches {
    fn default() -> Self {
        Self {
            window: FIRST_WINDOW,
            under_way: 0,
            waiting: VecDeque::new(),
            round: None,
            answers_per_ks: None,
        }
    }
}

impl Attaches {
    /// Whether a connection whose CONNECT comes now need not wait.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.is_empty() && self.under_way < self.window
    }

    /// A connection's CONNECT has come; it is asked for when [`Self::next`] names it.
    pub(crate) fn wait(&mut self, token: ConnectionToken) {
        self.waiting.push_back(token);
    }

    /// The connection to ask for now. [`Self::asked`] follows if it is still there.
    pub(crate) fn next(&mut self) -> Option<ConnectionToken> {
        if self.under_way >= self.window {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Storage has been asked.
    pub(crate) fn asked(&mut self) {
        self.under_way += 1;
    }

    /// Storage has answered what it was asked at `asked`.
    pub(crate) fn answered(&mut self, asked: MonotonicMs, now: MonotonicMs) {
        self.under_way = self.under_way.saturating_sub(1);
        let is_full = !self.waiting.is_empty();
        let round = self.round.get_or_insert(Round {
            began: now,
            answered: 0,
            late: 0,
            was_full: is_full,
        });
        round.answered += 1;
        round.late += u32::from(now.since(asked) > SOON);
        round.was_full &= is_full;
        if now.since(round.began) >= ROUND
            && let Some(round) = self.round.take()
        {
            self.end_round(&round, now);
        }
    }

    /// Storage has gone, or come back: how long answers take now says nothing.
    pub(crate) fn begin_anew(&mut self) {
        self.round = None;
    }

    /// Whether a client that comes now would wait too long.
    pub(crate) fn is_overrun(&self) -> bool {
        let Some(answers_per_ks) = self.answers_per_ks.filter(|_| !self.waiting.is_empty()) else {
            return false;
        };
        let most = u128::from(answers_per_ks) * LONGEST_WAIT.as_millis() / 1_000_000;
        // What fits a window is not worth a refusal, however slow storage is.
        self.waiting.len() as u128 > most.max(u128::from(LARGEST_WINDOW))
    }

    /// Drops those that have gone, before they outweigh the others.
    pub(crate) fn retain(&mut self, most: usize, is_there: impl Fn(ConnectionToken) -> bool) {
        if self.waiting.len() > most {
            self.waiting.retain(|token| is_there(*token));
        }
    }

    /// Connections that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Attaches that may be under way.
    pub(crate) fn window(&self) -> u64 {
        u64::from(self.window)
    }

    fn end_round(&mut self, round: &Round, now: MonotonicMs) {
        if round.late * 2 > round.answered {
            self.window = (self.window / 4 * 3).max(SMALLEST_WINDOW);
        } else if round.was_full {
            self.window = (self.window + self.window / 4 + 1).min(LARGEST_WINDOW);
        }
        if round.was_full {
            let elapsed_ms = u64::try_from(now.since(round.began).as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            let rate = u64::from(round.answered) * 1_000_000 / elapsed_ms;
            let before = self.answers_per_ks.unwrap_or(rate);
            self.answers_per_ks = Some((before * (ROUNDS_OF_RATE - 1) + rate) / ROUNDS_OF_RATE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage that answers `per_ms` attaches each millisecond, in order, for `ms` milliseconds; `crowd` clients
    /// come at its beginning. Returns the longest time that an answer took in the second half.
    fn storm(attaches: &mut Attaches, crowd: u32, per_ms: f64, ms: u64) -> Duration {
        let mut asked = VecDeque::new();
        for slot in 0..crowd {
            attaches.wait(ConnectionToken::new(slot, 0));
        }
        let (mut credit, mut longest) = (0.0, Duration::ZERO);
        for at in 1..=ms {
            let now = MonotonicMs(at);
            while attaches.next().is_some() {
                attaches.asked();
                asked.push_back(now);
            }
            credit += per_ms;
            while credit >= 1.0
                && let Some(since) = asked.pop_front()
            {
                credit -= 1.0;
                attaches.answered(since, now);
                if at > ms / 2 {
                    longest = longest.max(now.since(since));
                }
            }
            credit = credit.min(1.0);
        }
        longest
    }

    #[test]
    fn those_that_are_in_wait_little_longer_than_soon_however_slow_storage_is() {
        for per_ms in [0.5, 2.0, 10.0, 30.0] {
            let mut attaches = Attaches::default();
            let longest = storm(&mut attaches, 100_000, per_ms, 4_000);
            assert!(longest <= SOON * 2, "{longest:?} at {per_ms} each millisecond");
        }
    }

    #[test]
    fn storage_is_kept_busy() {
        for per_ms in [2.0, 30.0] {
            let mut attaches = Attaches::default();
            storm(&mut attaches, 100_000, per_ms, 3_000);
            let answered = 100_000.0 - attaches.waiting() as f64 - f64::from(attaches.under_way);
            assert!(
                answered >= 0.9 * per_ms * 3_000.0,
                "{answered} at {per_ms} each millisecond"
            );
        }
    }

    #[test]
    fn who_would_wait_too_long_is_refused_and_nobody_before_it_is_known() {
        let mut attaches = Attaches::default();
        for slot in 0..10_000 {
            attaches.wait(ConnectionToken::new(slot, 0));
        }
        assert!(!attaches.is_overrun(), "nothing is known yet");
        storm(&mut attaches, 0, 1.0, 1_000);
        assert!(attaches.is_overrun(), "nine seconds are left");
        storm(&mut attaches, 0, 5.0, 1_500);
        assert!(
            !attaches.is_overrun(),
            "{} at five each millisecond",
            attaches.waiting()
        );
        storm(&mut attaches, 0, 5.0, 2_000);
        assert!(!attaches.is_overrun(), "nobody waits");
    }

    #[test]
    fn few_clients_wait_for_nobody() {
        let mut attaches = Attaches::default();
        storm(&mut attaches, FIRST_WINDOW, 0.0, 1);
        assert_eq!(attaches.waiting(), 0);
        assert_eq!(attaches.next(), None);
    }

    #[test]
    fn the_time_without_storage_is_not_taken_for_slowness() {
        let mut attaches = Attaches::default();
        storm(&mut attaches, 20_000, 10.0, 500);
        let (window, rate) = (attaches.window(), attaches.answers_per_ks);
        attaches.begin_anew();
        attaches.answered(MonotonicMs(500), MonotonicMs(60_000));
        assert_eq!((attaches.window(), attaches.answers_per_ks), (window, rate));
    }
}
