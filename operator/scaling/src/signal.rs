//! What is measured of a cluster's proxies, and a value for each of it.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// One thing that load is measured by. All values are sums over the proxies, so that dividing one by what a proxy carries
/// gives proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    /// Clients that are connected.
    Connections,
    /// Connections opened per second.
    ConnectsPerSecond,
    /// Messages published by clients per second.
    PublishesInPerSecond,
    /// Messages delivered to clients per second.
    DeliveriesOutPerSecond,
    /// CPU, in percent of one proxy's limit, added up.
    CpuPercent,
    /// Memory, in percent of one proxy's limit, added up.
    MemoryPercent,
}

impl Signal {
    /// Every signal, in the order in which they are named to people.
    pub const ALL: [Self; 6] = [
        Self::Connections,
        Self::ConnectsPerSecond,
        Self::PublishesInPerSecond,
        Self::DeliveriesOutPerSecond,
        Self::CpuPercent,
        Self::MemoryPercent,
    ];

    /// The name in settings and status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectsPerSecond => "connectsPerSecond",
            Self::PublishesInPerSecond => "publishesInPerSecond",
            Self::DeliveriesOutPerSecond => "deliveriesOutPerSecond",
            Self::CpuPercent => "cpuPercent",
            Self::MemoryPercent => "memoryPercent",
        }
    }

    /// Whether the signal is a level that stays until it is changed. A rate flickers and is averaged before it counts;
    /// averaging a level would only delay it.
    pub(crate) fn is_level(self) -> bool {
        matches!(self, Self::Connections | Self::MemoryPercent)
    }

    /// Whether the signal is load that clients bring, which has a future of its own. CPU and memory follow from it.
    pub(crate) fn is_load(self) -> bool {
        !matches!(self, Self::CpuPercent | Self::MemoryPercent)
    }

    fn index(self) -> usize {
        match self {
            Self::Connections => 0,
            Self::ConnectsPerSecond => 1,
            Self::PublishesInPerSecond => 2,
            Self::DeliveriesOutPerSecond => 3,
            Self::CpuPercent => 4,
            Self::MemoryPercent => 5,
        }
    }
}

/// A value for each signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PerSignal<T>([T; 6]);

impl<T> PerSignal<T> {
    /// Makes the value of each signal.
    pub fn of(make: impl FnMut(Signal) -> T) -> Self {
        Self(Signal::ALL.map(make))
    }
}

impl<T> Index<Signal> for PerSignal<T> {
    type Output = T;

    fn index(&self, signal: Signal) -> &T {
        &self.0[signal.index()]
    }
}

impl<T> IndexMut<Signal> for PerSignal<T> {
    fn index_mut(&mut self, signal: Signal) -> &mut T {
        &mut self.0[signal.index()]
    }
}
