//! What the proxies of one cluster say of their load, added up to the samples that decisions are made from.
//!
//! Told of each answer of `/loadz`; asked for a sample once a second. A proxy that hands over its clients counts as well:
//! they go to the others. An active one that does not answer counts with what it said last, for [`REMEMBERED`], and makes
//! the sample partial, by which proxies are added and none taken away.

use std::collections::HashMap;
use std::time::Duration;

use freshet_load::Load;
use freshet_scaling::{PerSignal, Sample, Signal};
use k8s_openapi::api::core::v1::Pod;

use crate::labels;
use crate::observe::Role;

/// An answer of this age still says what is there: one or two scrapes may fail.
const FRESH: Duration = Duration::from_secs(3);
/// How long a proxy that does not answer counts with what it said last.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Rates over less than this would be mostly noise.
const LEAST_SPAN_MS: u64 = 200;
/// Of this part of all publications a proxy must have had some for its P99 to count: a single slow answer on a proxy
/// without load is no proof of anything.
const LEAST_PART: u64 = 100;

/// A proxy whose load is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// UID of its pod.
    pub uid: String,
    /// Address of its pod.
    pub ip: String,
    /// How its load counts.
    pub part: Part,
}

/// How a proxy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Serves: its load is needed to know the whole.
    Serving,
    /// Has clients for as long as it lives, and is not counted on.
    Leaving,
    /// Waits without clients.
    Waiting,
}

/// The proxy that a pod is, if it is one of the cluster with this UID that can be asked.
pub fn member_of(pod: &Pod, cluster_uid: &str) -> Option<Member> {
    let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let of = pod.metadata.annotations.as_ref()?.get(labels::CLUSTER_UID)?;
    if label(labels::COMPONENT) != Some(labels::PROXY) || of != cluster_uid {
        return None;
    }
    let status = pod.status.as_ref()?;
    let is_ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let role = match label(labels::ROLE) {
        Some(labels::ACTIVE) => Some(Role::Active),
        Some(labels::DRAINING) => Some(Role::Draining),
        _ => None,
    };
    Some(Member {
        uid: pod.metadata.uid.clone()?,
        ip: status.pod_ip.clone()?,
        part: match role {
            Some(Role::Active) if is_ready && pod.metadata.deletion_timestamp.is_none() => Part::Serving,
            Some(_) => Part::Leaving,
            None => Part::Waiting,
        },
    })
}

/// What is known of the load of one cluster's proxies.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    known: HashMap<String, Known>,
}

/// What is known of one proxy.
#[derive(Debug, Clone)]
struct Known {
    /// When it answered last, on a clock that only goes forward.
    at: Duration,
    load: Load,
    /// The answer that rates are counted from.
    base: Load,
    rates: Option<Rates>,
}

/// Per second, but CPU: per second of time.
#[derive(Debug, Clone, Copy)]
struct Rates {
    connects: Option<f64>,
    publishes: Option<f64>,
    deliveries: Option<f64>,
    cpu: Option<f64>,
}

impl Fleet {
    /// Forgets proxies that are no more.
    pub fn keep_only(&mut self, members: &[Member]) {
        if self.known.len() > members.len() {
            self.known
                .retain(|uid, _| members.iter().any(|member| member.uid == *uid));
        }
    }

    /// Takes an answer. `at` is on a clock that only goes forward.
    pub fn take(&mut self, uid: &str, load: Load, at: Duration) {
        let Some(known) = self.known.get_mut(uid) else {
            let known = Known {
                at,
                base: load.clone(),
                load,
                rates: None,
            };
            self.known.insert(uid.to_owned(), known);
            return;
        };
        known.at = at;
        if known.base.incarnation != load.incarnation || load.uptime_ms < known.base.uptime_ms {
            known.rates = None;
            known.base = load.clone();
        } else if load.uptime_ms - known.base.uptime_ms >= LEAST_SPAN_MS {
            known.rates = Some(Rates::between(&known.base, &load));
            known.base = load.clone();
        }
        known.load = load;
    }

    /// Adds up what is known. `at` is on the clock of [`Self::take`], `now` since the Unix epoch.
    pub fn sample(&self, members: &[Member], at: Duration, now: Duration) -> Sample {
        let age = |uid: &str| Some(at.saturating_sub(self.known.get(uid)?.at));
        let is_fresh = |member: &&Member| age(&member.uid).is_some_and(|age| age <= FRESH);
        let serving = || members.iter().filter(|member| member.part == Part::Serving);
        let fresh = serving().filter(is_fresh).count();
        let mut sample = Sample {
            at: now,
            proxies: u32::try_from(fresh).ok(),
            is_partial: fresh < serving().count(),
            ..Sample::default()
        };
        if fresh == 0 {
            // What was said a while ago, of proxies of which nothing is known now, is no demand.
            sample.proxies = None;
            return sample;
        }
        let counted: Vec<(bool, &Known)> = members
            .iter()
            .filter(|member| member.part != Part::Waiting && age(&member.uid).is_some_and(|age| age <= REMEMBERED))
            .filter_map(|member| {
                let must_be_known = member.part == Part::Serving && is_fresh(&member);
                Some((must_be_known, self.known.get(&member.uid)?))
            })
            .collect();
        sample.values = PerSignal::of(|signal| {
            counted.iter().try_fold(0.0, |sum, (must_be_known, known)| {
                let value = known.value(signal);
                if *must_be_known {
                    Some(sum + value?)
                } else {
                    Some(sum + value.unwrap_or(0.0))
                }
            })
        });
        let serving: Vec<&Known> = counted
            .iter()
            .filter(|(serves, _)| *serves)
            .map(|(_, known)| *known)
            .collect();
        if let Some((round_trip_ms, slowest)) = slowest(&serving) {
            sample.round_trip_p99_ms = Some(round_trip_ms);
            sample.slowest = PerSignal::of(|signal| slowest.value(signal));
        }
        sample
    }
}

/// The greatest P99 of the newest of QoS 1 and 2, in milliseconds, of the proxies that had a relevant part of all publications, and whose it
/// is.
fn slowest<'a>(serving: &[&'a Known]) -> Option<(f64, &'a Known)> {
    let acknowledged = || {
        serving.iter().flat_map(|known| {
            let all = known.load.publish_round_trips.iter().map(move |of| (of, *known));
            all.filter(|(round_trip, _)| round_trip.qos > 0)
        })
    };
    let total: u64 = acknowledged().map(|(round_trip, _)| u64::from(round_trip.count)).sum();
    acknowledged()
        .filter(|(round_trip, _)| u64::from(round_trip.count) * LEAST_PART >= total)
        .filter_map(|(round_trip, known)| Some((round_trip.newest_p99_ms?, known)))
        .max_by_key(|(p99_ms, _)| *p99_ms)
        .map(|(p99_ms, known)| (f64::from(p99_ms), known))
}

impl Known {
    fn value(&self, signal: Signal) -> Option<f64> {
        let rates = self.rates;
        match signal {
            Signal::Connections => Some(count(self.load.clients?)),
            Signal::ConnectsPerSecond => rates?.connects,
            Signal::PublishesInPerSecond => rates?.publishes,
            Signal::DeliveriesOutPerSecond => rates?.deliveries,
            Signal::CpuPercent => {
                let limit = self.load.cpu.as_ref()?.limit_millicores.filter(|limit| *limit > 0)?;
                Some(rates?.cpu? * 100.0 * 1000.0 / count(limit))
            }
            Signal::MemoryPercent => {
                let memory = self.load.memory.as_ref()?;
                let limit = memory.limit_bytes.filter(|limit| *limit > 0)?;
                Some(count(memory.used_bytes?) * 100.0 / count(limit))
            }
        }
    }
}

impl Rates {
    fn between(before: &Load, now: &Load) -> Self {
        let seconds = count(now.uptime_ms.saturating_sub(before.uptime_ms)) / 1000.0;
        let rate = |of: fn(&Load) -> Option<u64>| Some(count(of(now)?.checked_sub(of(before)?)?) / seconds);
        Self {
            connects: rate(|load| load.connects_total),
            publishes: rate(|load| load.publishes_in_total),
            deliveries: rate(|load| load.deliveries_out_total),
            cpu: rate(|load| load.cpu.as_ref()?.usage_us_total).map(|us| us / 1e6),
        }
    }
}

/// Loses digits beyond 2^53, which no load has.
#[allow(clippy::cast_precision_loss)]
fn count(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
