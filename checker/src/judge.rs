//! The judge: a history in, a verdict out.
//!
//! Pure: no socket, no clock, no thread, and no code of the server. Where the broker could choose, because something
//! was under way at the time, each choice is right; where it could not, one is. A rule is a file:
//!
//! * `loss`: what was acknowledged reaches every session that was subscribed, and every request has its answer;
//! * `once`: QoS 2 once, and a packet id stands for one message until it is released;
//! * `order`: the first deliveries of a publisher's messages to a topic come in the order of publication;
//! * `origin`: only what was published and subscribed to is delivered;
//! * `present`: session present in CONNACK;
//! * `retained`: who subscribes gets the last message that was acknowledged, among concurrent ones any;
//! * `takeover`: the old connection is over when the new one is let in;
//! * `wills`: a client that takes its leave has no will, one that hangs up has;
//! * `coverage`: whether enough happened for all this to mean anything.

mod coverage;
mod index;
mod loss;
mod matching;
mod once;
mod order;
mod origin;
mod present;
mod retained;
mod takeover;
#[cfg(test)]
mod tests;
mod wills;

use std::fmt;

pub use coverage::{Coverage, Thresholds};

use crate::history::{History, Line, Message, shown};
use index::Index;

/// How many violations of one rule are told; more would be more of the same.
const MOST_OF_A_RULE: usize = 20;

/// What a history shows.
#[derive(Debug)]
pub struct Verdict {
    /// Where it breaks a promise.
    pub violations: Vec<Violation>,
    /// What happened in it.
    pub coverage: Coverage,
    /// What of the thresholds it fell short of.
    pub shortfalls: Vec<String>,
}

/// Where a history breaks a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub rule: Rule,
    /// Client id of who saw it.
    pub client: String,
    /// The message it is about.
    pub message: Option<Message>,
    /// What was seen instead.
    pub seen: String,
    /// The lines of the history that show it.
    pub lines: Vec<Line>,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// What was acknowledged is delivered.
    NoLoss,
    /// Every request is answered in the end.
    Answered,
    /// QoS 2 arrives once.
    ExactlyOnce,
    /// First deliveries are in the order of publication.
    Order,
    /// Only what was published and subscribed to is delivered.
    Origin,
    /// Session present is true when, and only when, there is a session.
    SessionPresent,
    /// The retained message is the last acknowledged one.
    Retained,
    /// A connection that was taken over is served no more.
    TakeoverExclusive,
    /// Wills are published when they have to be, and only then.
    Wills,
    /// The broker speaks MQTT.
    Protocol,
}

impl Verdict {
    /// Whether all promises were kept and enough happened.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.violations.is_empty() && self.shortfalls.is_empty()
    }

    /// Whether a promise was broken.
    #[must_use]
    pub const fn is_refuted(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Whether a rule was broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.violations.iter().any(|violation| violation.rule == rule)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.coverage)?;
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        for shortfall in &self.shortfalls {
            writeln!(f, "too little: {shortfall}")?;
        }
        f.write_str(match (self.is_refuted(), self.shortfalls.is_empty()) {
            (true, _) => "verdict: refuted",
            (false, true) => "verdict: nothing was lost, doubled or overtaken",
            (false, false) => "verdict: inconclusive, too little happened",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: client {}", self.rule, self.client)?;
        if let Some(message) = &self.message {
            write!(
                f,
                ", topic {}, sequence {} of {}",
                message.topic, message.sequence, message.publisher
            )?;
        }
        let lines: Vec<String> = self.lines.iter().map(|line| shown(*line).to_string()).collect();
        write!(f, ": {} (lines {})", self.seen, lines.join(", "))
    }
}

/// What of `thresholds` a history falls short of so far.
#[must_use]
pub fn shortfalls(history: &History, thresholds: &Thresholds) -> Vec<String> {
    Coverage::of(&Index::of(history)).shortfalls(thresholds)
}

/// Judges a history, which says nothing if it falls short of `thresholds`.
#[must_use]
pub fn judge(history: &History, thresholds: &Thresholds) -> Verdict {
    let index = Index::of(history);
    let mut violations = Vec::new();
    for rule in [
        loss::judge,
        once::judge,
        order::judge,
        origin::judge,
        present::judge,
        retained::judge,
        takeover::judge,
        wills::judge,
    ] {
        violations.extend(rule(&index).into_iter().take(MOST_OF_A_RULE));
    }
    let coverage = Coverage::of(&index);
    let mut shortfalls = coverage.shortfalls(thresholds);
    shortfalls.extend(
        index
            .away_at_rest()
            .map(|client| format!("client {client} is not back at the end")),
    );
    Verdict {
        violations,
        coverage,
        shortfalls,
    }
}
