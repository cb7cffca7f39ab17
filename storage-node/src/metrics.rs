//! `freshet_storage_…`: what the node counts by itself, and the core's own figures as of a scrape.

mod core;

use std::fmt;

use freshet_storage_api::ConnectionCount;
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

pub use self::core::StorageMetrics;

const PREFIX: &str = "freshet_storage";

/// How a link has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By its proxy.
    Orderly,
    /// The connection was lost.
    Lost,
    /// A younger link of the same incarnation took its place.
    Superseded,
    /// The proxy did not drain a stream.
    NotDrained,
    /// A frame was not understood.
    NotUnderstood,
    /// The core has ended it.
    Fault,
}

impl Ending {
    fn word(self) -> &'static str {
        match self {
            Self::Orderly => "orderly",
            Self::Lost => "lost",
            Self::Superseded => "superseded",
            Self::NotDrained => "not_drained",
            Self::NotUnderstood => "not_understood",
            Self::Fault => "fault",
        }
    }
}

type ReasonLabel = [(&'static str, &'static str); 1];

/// The node's own metrics.
pub(crate) struct Metrics {
    pub(crate) turn_seconds: Histogram,
    links_ended: Family<ReasonLabel, Counter>,
    registry: Registry,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // 10 us to 2.6 s.
        let turn_seconds = Histogram::new(exponential_buckets(0.000_01, 4.0, 10));
        let links_ended = Family::<ReasonLabel, Counter>::default();
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("turn_seconds", "Duration of the actor's turns", turn_seconds.clone());
        registry.register("links_ended", "Links to proxies that have ended", links_ended.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the process", build);
        Self {
            turn_seconds,
            links_ended,
            registry,
        }
    }

    pub(crate) fn link_ended(&self, ending: Ending) {
        self.links_ended.get_or_create(&[("reason", ending.word())]).inc();
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn encode(&self, figures: StorageMetrics, connections: &ConnectionCount) -> Result<String, fmt::Error> {
        let mut core = Registry::with_prefix(PREFIX);
        let open = ConstGauge::new(connections.open() as u64);
        core.register("connections", "Connections from proxies", open);
        core.register_collector(Box::new(figures));
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &core)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
