//! When a changed status is written: what people and tools wait for at once, numbers seldom. Every write goes to etcd and
//! to every watcher, and a write of what has not changed would be one for nothing.

use std::time::Duration;

use freshet_operator_api::MqttClusterStatus;

/// How seldom a status is written in which only numbers and words changed.
pub const NUMBERS_EVERY: Duration = Duration::from_secs(15);

/// What to do with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWrite {
    /// It is what is stored.
    Nothing,
    /// Write it.
    Now,
    /// Write it no earlier than after this.
    After(Duration),
}

/// Decides whether `new` is written over `old`, when the last write was `since_last` ago (`None`: not by this process).
pub fn decide_write(
    old: Option<&MqttClusterStatus>,
    new: &MqttClusterStatus,
    since_last: Option<Duration>,
) -> StatusWrite {
    let Some(old) = old else { return StatusWrite::Now };
    if old == new {
        return StatusWrite::Nothing;
    }
    let left = since_last.map_or(Duration::ZERO, |since| NUMBERS_EVERY.saturating_sub(since));
    if left.is_zero() || decisions_of(old) != decisions_of(new) {
        StatusWrite::Now
    } else {
        StatusWrite::After(left)
    }
}

/// The status without what is only a number, or only words.
fn decisions_of(status: &MqttClusterStatus) -> MqttClusterStatus {
    let mut decisions = status.clone();
    decisions.proxy.active = 0;
    decisions.proxy.ready = 0;
    decisions.proxy.warm = 0;
    decisions.proxy.promotable = 0;
    decisions.proxy.draining = 0;
    decisions.proxy.drains.clear();
    decisions.proxy.drains_total = 0;
    decisions.proxy.revision.active_new = 0;
    decisions.proxy.revision.active_old = 0;
    decisions.storage.ready = 0;
    decisions.pending_disruption = None;
    if let Some(scaling) = &mut decisions.scaling {
        scaling.signals.clear();
        scaling.learned_capacity = None;
        scaling.forecast = None;
        scaling.next_scheduled = None;
        scaling.ceiling = None;
        if let Some(warm) = &mut scaling.warm {
            warm.reason.clear();
        }
    }
    for condition in &mut decisions.conditions {
        condition.message.clear();
    }
    decisions
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshet_operator_api::{RevisionPhase, ScalingStatus, SignalStatus};

    fn status() -> MqttClusterStatus {
        MqttClusterStatus {
            observed_generation: Some(1),
            ..MqttClusterStatus::default()
        }
    }

    #[test]
    fn what_has_not_changed_is_never_written() {
        assert_eq!(decide_write(Some(&status()), &status(), None), StatusWrite::Nothing);
        assert_eq!(
            decide_write(Some(&status()), &status(), Some(Duration::from_secs(99))),
            StatusWrite::Nothing
        );
    }

    #[test]
    fn the_first_status_is_written_at_once() {
        assert_eq!(decide_write(None, &status(), None), StatusWrite::Now);
    }

    #[test]
    fn decisions_are_written_at_once() {
        let mut new = status();
        new.proxy.revision.phase = RevisionPhase::Warming;
        assert_eq!(
            decide_write(Some(&status()), &new, Some(Duration::ZERO)),
            StatusWrite::Now
        );
    }

    #[test]
    fn a_decision_of_the_scaler_is_written_at_once_and_its_signals_are_not() {
        let mut old = status();
        old.scaling = Some(ScalingStatus::default());
        let mut new = old.clone();
        if let Some(scaling) = &mut new.scaling {
            scaling.signals.push(SignalStatus::default());
        }
        let soon = Some(Duration::from_secs(1));
        assert_eq!(
            decide_write(Some(&old), &new, soon),
            StatusWrite::After(Duration::from_secs(14))
        );
        if let Some(scaling) = &mut new.scaling {
            scaling.desired = 7;
        }
        assert_eq!(decide_write(Some(&old), &new, soon), StatusWrite::Now);
    }

    #[test]
    fn numbers_wait_until_fifteen_seconds_have_passed() {
        let mut new = status();
        new.proxy.ready = 3;
        let after = |since| decide_write(Some(&status()), &new, Some(Duration::from_secs(since)));
        assert_eq!(after(4), StatusWrite::After(Duration::from_secs(11)));
        assert_eq!(after(15), StatusWrite::Now);
    }
}
