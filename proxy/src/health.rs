//! Whether this process lives and serves, as its probes ask.
//!
//! Readiness latches: storage makes a proxy ready once, and afterwards only the proxy's own state counts. If readiness
//! followed storage, one blip of storage would take all proxies out of the Service at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use freshet_load::Phase;
use freshet_process::Probes;

/// Shared by the workers, which report, and the probes, which ask.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_attached: AtomicBool,
    has_reached_storage: AtomicBool,
    is_lingering: AtomicBool,
    is_draining: AtomicBool,
    has_ended: AtomicBool,
    /// Rounds of reports in a row that some worker did not answer.
    rounds_missed: AtomicU32,
}

/// Rounds that a worker may miss before the process counts as stuck. A round takes [`crate::metrics::REPORT_INTERVAL`].
const ROUNDS_UNTIL_STUCK: u32 = 6;

impl Health {
    /// Notes whether storage is attached.
    pub(crate) fn set_attached(&self, is_attached: bool) {
        // The load first: written once, read by every turn.
        if self.0.is_attached.load(Ordering::Relaxed) == is_attached {
            return;
        }
        self.0.is_attached.store(is_attached, Ordering::Relaxed);
        if is_attached {
            self.0.has_reached_storage.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that the process was told to end.
    pub(crate) fn set_lingering(&self) {
        self.0.is_lingering.store(true, Ordering::Relaxed);
    }

    /// Notes that the process hands over its clients.
    pub(crate) fn set_draining(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    /// How far the process has come in its life.
    pub(crate) fn phase(&self) -> Phase {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is_set(&self.0.has_ended) {
            Phase::Ended
        } else if is_set(&self.0.is_draining) {
            Phase::Draining
        } else if is_set(&self.0.is_lingering) {
            Phase::Lingering
        } else if is_set(&self.0.has_reached_storage) {
            Phase::Serving
        } else {
            Phase::Starting
        }
    }

    /// Notes that the process serves no longer: it has drained, or a part of it has failed.
    pub(crate) fn set_ended(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }

    /// Notes whether all workers answered a round.
    pub(crate) fn note_round(&self, all_answered: bool) {
        if all_answered {
            self.0.rounds_missed.store(0, Ordering::Relaxed);
        } else {
            self.0.rounds_missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether storage is attached now.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.0.is_attached.load(Ordering::Relaxed)
    }
}

impl Probes for Health {
    fn readiness(&self) -> Result<(), &'static str> {
        if self.0.has_ended.load(Ordering::Relaxed) {
            return Err("the proxy has handed over its clients or failed");
        }
        if !self.0.has_reached_storage.load(Ordering::Relaxed) {
            return Err("storage has not been reached yet");
        }
        Ok(())
    }

    fn liveness(&self) -> Result<(), &'static str> {
        if self.0.rounds_missed.load(Ordering::Relaxed) >= ROUNDS_UNTIL_STUCK {
            return Err("a worker does not answer");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_ready_from_the_first_attach_on_whatever_storage_does_then() {
        let health = Health::default();
        assert!(health.readiness().is_err());
        health.set_attached(true);
        assert!(health.readiness().is_ok());
        health.set_attached(false);
        assert!(health.readiness().is_ok());
        health.set_ended();
        assert!(health.readiness().is_err());
    }

    #[test]
    fn the_phases_of_a_life_follow_each_other() {
        let health = Health::default();
        assert_eq!(health.phase(), Phase::Starting);
        health.set_attached(true);
        health.set_attached(false);
        assert_eq!(health.phase(), Phase::Serving);
        health.set_lingering();
        assert_eq!(health.phase(), Phase::Lingering);
        health.set_draining();
        assert_eq!(health.phase(), Phase::Draining);
        health.set_ended();
        assert_eq!(health.phase(), Phase::Ended);
    }

    #[test]
    fn a_worker_that_never_answers_makes_the_process_unwell_and_one_that_answers_again_well() {
        let health = Health::default();
        for _ in 0..ROUNDS_UNTIL_STUCK {
            assert!(health.liveness().is_ok());
            health.note_round(false);
        }
        assert!(health.liveness().is_err());
        health.note_round(true);
        assert!(health.liveness().is_ok());
    }
}
