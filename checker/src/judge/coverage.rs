//! Coverage: what happened in a history, and whether it is enough to show anything.

use std::fmt;

use super::index::Index;
use super::loss::due;
use crate::history::{ConnectionNumber, Killing, What};
use std::collections::BTreeSet;

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Processes killed, at fault points included.
    pub kills: usize,
    /// Those that were killed at a fault point.
    pub at_fault_points: usize,
    /// The names of these points.
    pub fault_points: BTreeSet<String>,
    /// Processes told to stop.
    pub terminations: usize,
    /// Processes kept from running for a while.
    pub pauses: usize,
    /// Connections taken over while they were open.
    pub takeovers: usize,
    /// Sessions that went on on another connection.
    pub resumes: usize,
    /// QoS 2 exchanges, in either direction, that a connection ended in the middle of.
    pub interrupted: usize,
    /// Publications that were acknowledged.
    pub acknowledged: usize,
    /// Deliveries that had to be: message and session.
    pub due: usize,
    /// Messages delivered because they were retained.
    pub retained: usize,
    /// Wills that had to be published.
    pub wills: usize,
}

/// The least that has to have happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// [`Coverage::kills`].
    pub kills: usize,
    /// [`Coverage::takeovers`].
    pub takeovers: usize,
    /// [`Coverage::resumes`].
    pub resumes: usize,
    /// [`Coverage::interrupted`].
    pub interrupted: usize,
    /// [`Coverage::due`].
    pub due: usize,
    /// [`Coverage::retained`].
    pub retained: usize,
    /// [`Coverage::wills`]; [`Crowd::finish`](crate::Crowd::finish) sees to them.
    pub wills: usize,
    /// [`Coverage::fault_points`].
    pub fault_points: Vec<String>,
}

impl Thresholds {
    /// What has to have happened in a run of so many seconds at least and so many kills.
    #[must_use]
    pub const fn of_run(seconds: usize, kills: usize) -> Self {
        // Each kill interrupts everybody; without any, clients still go and come as they like.
        Self {
            kills,
            takeovers: seconds / 2,
            resumes: seconds + 5 * kills,
            interrupted: (seconds + 2 * kills) / 4,
            due: 50 * seconds,
            retained: seconds,
            wills: 0,
            fault_points: Vec::new(),
        }
    }
}

impl Coverage {
    pub(super) fn of(index: &Index<'_>) -> Self {
        let mut coverage = Self {
            interrupted: interrupted(index),
            ..Self::default()
        };
        for event in &index.history.events {
            match &event.what {
                What::Killed { how, .. } => {
                    coverage.kills += 1;
                    if let Killing::FaultPoint(name) = how {
                        coverage.at_fault_points += 1;
                        coverage.fault_points.insert(name.clone());
                    }
                }
                What::Terminated { .. } => coverage.terminations += 1,
                What::Paused { .. } => coverage.pauses += 1,
                _ => {}
            }
        }
        for connection in index.connections.values() {
            coverage.takeovers += usize::from(connection.superseded.is_some());
            coverage.resumes += usize::from(connection.accepted.is_some_and(|(_, present)| present));
        }
        for publication in index.publications.values().filter(|p| p.acknowledged.is_some()) {
            let counter = if publication.is_will {
                &mut coverage.wills
            } else {
                &mut coverage.acknowledged
            };
            *counter += 1;
        }
        for session in &index.sessions {
            coverage.retained += session.deliveries.iter().filter(|d| d.retain).count();
            if session.is_at_rest {
                coverage.due += due(index, session).count();
            }
        }
        coverage
    }

    /// What there is too little of, for people.
    pub(super) fn shortfalls(&self, thresholds: &Thresholds) -> Vec<String> {
        let compared = [
            ("kills", self.kills, thresholds.kills),
            ("takeovers", self.takeovers, thresholds.takeovers),
            ("resumed sessions", self.resumes, thresholds.resumes),
            ("interrupted QoS 2 exchanges", self.interrupted, thresholds.interrupted),
            ("deliveries that had to be", self.due, thresholds.due),
            ("retained messages read", self.retained, thresholds.retained),
            ("wills that had to be published", self.wills, thresholds.wills),
        ];
        let unseen = thresholds.fault_points.iter();
        let unseen = unseen.filter(|name| !self.fault_points.contains(*name));
        compared
            .into_iter()
            .filter(|(_, seen, least)| seen < least)
            .map(|(what, seen, least)| format!("{seen} {what}, and at least {least} are asked for"))
            .chain(unseen.map(|name| format!("the fault point {name} was never reached")))
            .collect()
    }
}

/// Exchanges that were open when their connection ended or was taken over.
fn interrupted(index: &Index<'_>) -> usize {
    let mut open: BTreeSet<(ConnectionNumber, bool, u16)> = BTreeSet::new();
    let mut interrupted = 0;
    for event in &index.history.events {
        let connection = event.connection;
        match &event.what {
            What::Publishing { packet_id, qos: 2, .. } | What::Releasing { packet_id } => {
                open.insert((connection, true, *packet_id));
            }
            What::PubComp { packet_id, .. } => {
                open.remove(&(connection, true, *packet_id));
            }
            What::Received {
                packet_id: Some(packet_id),
                qos: 2,
                ..
            } => {
                open.insert((connection, false, *packet_id));
            }
            What::Completing { packet_id } => {
                open.remove(&(connection, false, *packet_id));
            }
            What::HungUp | What::Closed { .. } => {
                let of_it = |at: &(ConnectionNumber, bool, u16)| at.0 == connection;
                let before = open.len();
                open.retain(|at| !of_it(at));
                interrupted += before - open.len();
            }
            _ => {}
        }
    }
    interrupted
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills ({} at fault points), {} terminations, {} pauses; {} takeovers, {} resumed sessions, {} QoS 2 \
             exchanges interrupted; {} publications acknowledged, {} deliveries due, {} retained messages read, {} wills due",
            self.kills,
            self.at_fault_points,
            self.terminations,
            self.pauses,
            self.takeovers,
            self.resumes,
            self.interrupted,
            self.acknowledged,
            self.due,
            self.retained,
            self.wills
        )
    }
}
