//! Mistakes that can be planted in the cores, to see whether the model finds them.

use freshet_proxy_core::planted::Fault as ProxyFault;
use freshet_storage_core::planted::Fault as StorageFault;

use crate::action::Memory;

/// A mistake in one of the cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// In a worker or link.
    Proxy(ProxyFault),
    /// In a shard.
    Storage(StorageFault),
}

impl Planted {
    /// Every mistake that breaks a rule.
    pub fn all() -> impl Iterator<Item = Self> {
        let breaks_a_rule = |fault: &ProxyFault| *fault != ProxyFault::OneInTenRefused;
        let proxy = ProxyFault::ALL.iter().copied().filter(breaks_a_rule).map(Self::Proxy);
        proxy.chain(StorageFault::ALL.iter().copied().map(Self::Storage))
    }

    /// The storage node on which it shows.
    #[must_use]
    pub fn memory(self) -> Memory {
        match self {
            Self::Storage(fault) if fault.needs_disk() => Memory::Disk,
            Self::Storage(_) | Self::Proxy(_) => Memory::Process,
        }
    }

    /// Runs `act` on this thread with the mistake made.
    pub fn within<T>(self, act: impl FnOnce() -> T) -> T {
        self.switch(true);
        let result = act();
        self.switch(false);
        result
    }

    fn switch(self, on: bool) {
        match self {
            Self::Proxy(fault) => freshet_proxy_core::planted::plant(on.then_some(fault)),
            Self::Storage(fault) => freshet_storage_core::planted::plant(on.then_some(fault)),
        }
    }
}
