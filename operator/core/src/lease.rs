//! Who leads, by a `Lease` of `coordination.k8s.io`.
//!
//! Time is measured from when a record was *seen* to change, on the observer's own monotonic clock: clocks of nodes differ.
//! A lease is no fence, so the leader's writes carry preconditions of their own. Called by the operator's `leader`
//! module, which reads, writes and watches.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

/// How long a record holds that is not renewed.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// How long a leader goes on trying to renew; then it must have stopped before another one starts.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// How often a leader renews, and how soon what failed is tried again.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// The spec of a lease, and when it was first seen as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenLease {
    /// What the lease says.
    pub spec: LeaseSpec,
    /// The observer's monotonic clock when it began to say so.
    pub at: Duration,
}

impl SeenLease {
    /// Takes up a reading: the time stays when nothing has changed since the one `before`.
    pub fn read(spec: LeaseSpec, before: Option<&Self>, now: Duration) -> Self {
        let at = before
            .filter(|before| before.spec == spec)
            .map_or(now, |before| before.at);
        Self { spec, at }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseDecision {
    /// Write this, on condition that the lease is still what was seen: whoever succeeds leads.
    Take(LeaseSpec),
    /// Write this, to go on leading.
    Renew(LeaseSpec),
    /// Somebody else leads; look again no later than at this time of the monotonic clock.
    Follow(Duration),
}

/// Decides what the candidate `me` does about a lease, `None` if there is none.
///
/// `now` is the monotonic clock that [`SeenLease::at`] is measured by; `wall_clock` is only written down for people.
pub fn evaluate_lease(lease: Option<&SeenLease>, me: &str, now: Duration, wall_clock: Timestamp) -> LeaseDecision {
    let Some(seen) = lease else {
        return LeaseDecision::Take(held_by(me, wall_clock, 0));
    };
    let transitions = seen.spec.lease_transitions.unwrap_or(0);
    match seen.spec.holder_identity.as_deref().filter(|holder| !holder.is_empty()) {
        Some(holder) if holder == me => LeaseDecision::Renew(LeaseSpec {
            renew_time: Some(MicroTime(wall_clock)),
            lease_duration_seconds: Some(lease_seconds()),
            ..seen.spec.clone()
        }),
        Some(_) => {
            let seconds = seen
                .spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            let expires = seen.at + seconds.map_or(LEASE_DURATION, Duration::from_secs);
            if now < expires {
                LeaseDecision::Follow(expires)
            } else {
                LeaseDecision::Take(held_by(me, wall_clock, transitions.saturating_add(1)))
            }
        }
        None => LeaseDecision::Take(held_by(me, wall_clock, transitions.saturating_add(1))),
    }
}

/// What a leader that stops writes, so that the next one need not wait.
pub fn released(spec: &LeaseSpec, wall_clock: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(wall_clock)),
        ..spec.clone()
    }
}

fn held_by(me: &str, wall_clock: Timestamp, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(lease_seconds()),
        acquire_time: Some(MicroTime(wall_clock)),
        renew_time: Some(MicroTime(wall_clock)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

fn lease_seconds() -> i32 {
    i32::try_from(LEASE_DURATION.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held(holder: &str, at_s: u64) -> SeenLease {
        SeenLease {
            spec: held_by(holder, AT, 3),
            at: seconds(at_s),
        }
    }

    fn taken(decision: LeaseDecision) -> LeaseSpec {
        match decision {
            LeaseDecision::Take(spec) => spec,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lease_that_is_not_there_is_taken() {
        let spec = taken(evaluate_lease(None, "me", seconds(0), AT));
        assert_eq!(
            (spec.holder_identity.as_deref(), spec.lease_transitions),
            (Some("me"), Some(0))
        );
    }

    #[test]
    fn another_holder_is_followed_until_its_lease_has_run_out_since_it_was_seen_to_change() {
        let lease = held("other", 100);
        assert_eq!(
            evaluate_lease(Some(&lease), "me", seconds(114), AT),
            LeaseDecision::Follow(seconds(115))
        );
        let spec = taken(evaluate_lease(Some(&lease), "me", seconds(115), AT));
        assert_eq!(
            (spec.holder_identity.as_deref(), spec.lease_transitions),
            (Some("me"), Some(4))
        );
    }

    #[test]
    fn a_renewal_that_is_seen_starts_the_wait_anew_and_an_equal_reading_does_not() {
        let first = held("other", 100);
        let again = SeenLease::read(first.spec.clone(), Some(&first), seconds(110));
        assert_eq!(again.at, seconds(100));
        let later = Timestamp::from_second(5).expect("a time");
        let renewed = LeaseSpec {
            renew_time: Some(MicroTime(later)),
            ..first.spec.clone()
        };
        assert_eq!(SeenLease::read(renewed, Some(&first), seconds(110)).at, seconds(110));
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let lease = SeenLease {
            spec: released(&held("other", 0).spec, AT),
            at: seconds(100),
        };
        let spec = taken(evaluate_lease(Some(&lease), "me", seconds(100), AT));
        assert_eq!(spec.lease_duration_seconds, Some(15));
    }

    #[test]
    fn the_holder_renews_and_keeps_when_it_began() {
        let lease = held("me", 100);
        let later = Timestamp::from_second(9).expect("a time");
        match evaluate_lease(Some(&lease), "me", seconds(102), later) {
            LeaseDecision::Renew(spec) => {
                assert_eq!(spec.renew_time, Some(MicroTime(later)));
                assert_eq!(
                    (spec.acquire_time, spec.lease_transitions),
                    (Some(MicroTime(AT)), Some(3))
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_leader_has_stopped_before_its_lease_runs_out() {
        assert!(RENEW_DEADLINE + RETRY_PERIOD < LEASE_DURATION);
    }

    #[test]
    fn what_is_written_says_all_that_others_go_by() {
        let later = Timestamp::from_second(9).expect("a time");
        let mut lease = held("me", 100);
        assert_eq!(lease.spec.renew_time, Some(MicroTime(AT)));
        lease.spec.lease_duration_seconds = Some(40);
        let renewed = match evaluate_lease(Some(&lease), "me", seconds(102), later) {
            LeaseDecision::Renew(spec) => spec,
            other => panic!("{other:?}"),
        };
        assert_eq!(renewed.lease_duration_seconds, Some(15));
        let expected = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(later)),
            ..lease.spec.clone()
        };
        assert_eq!(released(&lease.spec, later), expected);
        assert_eq!(expected.lease_transitions, Some(3));
    }
}
