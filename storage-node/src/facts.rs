//! The core's facts as log lines.

use freshet_storage_core::StorageFact;

/// Writes one line.
pub(crate) fn log(fact: &StorageFact) {
    match fact {
        StorageFact::ProxyAttached {
            incarnation,
            proxy_name,
            resumed,
        } => {
            tracing::info!(%incarnation, proxy_name, resumed, "proxy attached");
        }
        StorageFact::AttachRefused {
            incarnation,
            proxy_name,
            refusal,
        } => {
            tracing::warn!(%incarnation, proxy_name, %refusal, "proxy refused");
        }
        StorageFact::IncarnationGone {
            incarnation,
            proxy_name,
        } => {
            tracing::warn!(%incarnation, proxy_name, "lease expired: the incarnation is gone");
        }
        StorageFact::LinkEnded {
            incarnation,
            proxy_name,
            fault,
        } => {
            tracing::warn!(%incarnation, proxy_name, %fault, "link ended");
        }
        StorageFact::RingOverrun { incarnation, shard } => {
            tracing::warn!(%incarnation, %shard, "deliveries to a proxy overrun: QoS 1 and 2 are lost until it catches up");
        }
        StorageFact::RingRecovered {
            incarnation,
            shard,
            lost,
        } => {
            tracing::info!(%incarnation, %shard, lost, "a proxy has caught up after an overrun");
        }
        StorageFact::ProxySilent { incarnation, shard } => {
            tracing::warn!(%incarnation, %shard, "a proxy acknowledges nothing: publishers no longer wait for it");
        }
        StorageFact::InterestFull { incarnation, shard } => {
            tracing::warn!(%incarnation, %shard, "filters do not fit: subscribers of a proxy are not confirmed");
        }
        StorageFact::InterestLate { incarnation, shard } => {
            tracing::warn!(%incarnation, %shard, "a proxy came back late: its clients may have missed QoS 1 and 2");
        }
        StorageFact::RecoveryHoldEnded { shard, held } => {
            tracing::info!(%shard, held, "publications are routed from now on");
        }
        StorageFact::TermRaised { term } => {
            tracing::warn!(%term, "a proxy has seen a higher term than the clock gave: every proxy attaches anew");
        }
    }
}
