//! How many sessions a worker asks storage for at once, so that clients that all come back leave storage to those that
//! are in.
//!
//! Attaches and publications stand in the same queue of storage: what is asked for beyond what storage answers soon
//! would only keep publications waiting. So the window follows how long answers take, and the other clients wait here,
//! in the order in which they came. Who would wait too long is refused before anything is read from it
//! ([`Attaches::is_overrun`]). What storage keeps waiting for another connection's sake, as for clients that throw each
//! other out, keeps nobody else waiting for long. Leaves out the requests themselves ([`super::requests`]).

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
/// Storage holds an attach that is not answered by then: its place in the window is another's.
const HELD_AFTER: Duration = Duration::from_secs(1);
/// Rounds over which the rate of answers is averaged.
const ROUNDS_OF_RATE: u64 = 8;

/// Attaches under way and connections that wait for theirs.
#[derive(Debug)]
pub(crate) struct Attaches {
    window: u32,
    under_way: u32,
    /// How many of those under way were asked for in each slice of [`ROUND`], oldest first.
    asked: VecDeque<(MonotonicMs, u32)>,
    /// When storage last went or came back: what was asked before is asked again.
    anew: MonotonicMs,
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
            asked: VecDeque::new(),
            anew: MonotonicMs(0),
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
    pub(crate) fn asked(&mut self, now: MonotonicMs) {
        self.under_way += 1;
        let slice = slice_of(now);
        match self.asked.back_mut().filter(|(last, _)| *last == slice) {
            Some((_, count)) => *count += 1,
            None => self.asked.push_back((slice, 1)),
        }
    }

    /// Storage has answered what it was asked at `asked`.
    pub(crate) fn answered(&mut self, asked: MonotonicMs, now: MonotonicMs) {
        let slice = slice_of(asked);
        let Some((_, count)) = self.asked.iter_mut().find(|(at, count)| *at == slice && *count > 0) else {
            // Its place has been given up for long, and it was counted as late.
            return;
        };
        *count -= 1;
        while self.asked.pop_front_if(|(_, count)| *count == 0).is_some() {}
        self.under_way = self.under_way.saturating_sub(1);
        self.note_answers(1, now.since(asked) > SOON, now);
    }

    /// Gives up the places of what storage holds. Not while storage is away: it holds nothing then.
    pub(crate) fn give_up_held(&mut self, now: MonotonicMs) {
        let anew = self.anew;
        let is_held = |slice: MonotonicMs| now.since(slice.max(anew)) >= HELD_AFTER;
        while let Some((_, count)) = self.asked.pop_front_if(|(slice, _)| is_held(*slice)) {
            self.under_way = self.under_way.saturating_sub(count);
            self.note_answers(count, true, now);
        }
    }

    /// When somebody who waits gets a place that is given up.
    pub(crate) fn next_given_up(&self) -> Option<MonotonicMs> {
        let (slice, _) = self.asked.front().filter(|_| !self.waiting.is_empty())?;
        Some((*slice).max(self.anew).plus(HELD_AFTER))
    }

    fn note_answers(&mut self, count: u32, is_late: bool, now: MonotonicMs) {
        if count == 0 {
            return;
        }
        let is_full = !self.waiting.is_empty();
        let round = self.round.get_or_insert(Round {
            began: now,
            answered: 0,
            late: 0,
            was_full: is_full,
        });
        round.answered += count;
        round.late += if is_late { count } else { 0 };
        round.was_full &= is_full;
        if now.since(round.began) >= ROUND
            && let Some(round) = self.round.take()
        {
            self.end_round(&round, now);
        }
    }

    /// Storage has gone, or come back: how long answers take now says nothing.
    pub(crate) fn begin_anew(&mut self, now: MonotonicMs) {
        self.round = None;
        self.anew = now;
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

/// The beginning of the slice of [`ROUND`] that a time falls into.
fn slice_of(at: MonotonicMs) -> MonotonicMs {
    let round_ms = u64::try_from(ROUND.as_millis()).unwrap_or(1);
    MonotonicMs(at.0 / round_ms * round_ms)
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
                attaches.asked(now);
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
        attaches.begin_anew(MonotonicMs(59_990));
        attaches.give_up_held(MonotonicMs(60_000));
        assert!(attaches.under_way > 0, "what was asked before is asked again");
        attaches.answered(MonotonicMs(500), MonotonicMs(60_000));
        assert_eq!((attaches.window(), attaches.answers_per_ks), (window, rate));
    }

    #[test]
    fn what_storage_holds_keeps_others_waiting_for_a_second_at_most() {
        let mut attaches = Attaches::default();
        let asked = MonotonicMs(5_010);
        for _ in 0..FIRST_WINDOW {
            assert!(attaches.has_room());
            attaches.asked(asked);
        }
        attaches.wait(ConnectionToken::new(1, 0));
        assert_eq!(attaches.next(), None);
        let given_up = attaches.next_given_up().unwrap();
        assert!(given_up.since(asked) <= HELD_AFTER, "{given_up:?}");
        attaches.give_up_held(MonotonicMs(given_up.0 - 1));
        assert_eq!(attaches.next(), None);
        attaches.give_up_held(given_up);
        assert!(attaches.next().is_some());
        assert_eq!(attaches.under_way, 0);
        // Their answers come in the end.
        let window = attaches.window();
        for _ in 0..FIRST_WINDOW {
            attaches.answered(asked, MonotonicMs(9_000));
        }
        assert_eq!((attaches.under_way, attaches.window()), (0, window), "counted once");
        assert_eq!(attaches.next_given_up(), None);
    }
}
