//! What a node lends to the shard that runs: the time, the settings, the proxies' links, filters that every shard has,
//! the node's sums, the output.

use freshet_storage_contract::{Answer, MonotonicMs, Placement};

use crate::facts::{LinkFault, StorageFact};
use crate::incarnations::{Incarnations, PeerKey};
use crate::outputs::{Outputs, ProxyOutput};
use crate::settings::StorageSettings;
use crate::shard::CommonFilters;
use crate::usage::Usage;

/// The surroundings of a shard during one call.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: MonotonicMs,
    pub(crate) settings: &'a StorageSettings,
    pub(crate) placement: &'a Placement,
    pub(crate) proxies: &'a mut Incarnations,
    pub(crate) common: &'a mut CommonFilters,
    pub(crate) usage: &'a mut Usage,
    pub(crate) out: &'a mut Outputs,
}

impl Turn<'_> {
    /// The frame of a proxy that has a link.
    pub(crate) fn frame(&mut self, key: PeerKey) -> Option<&mut ProxyOutput> {
        let id = self.proxies.get(key).filter(|_| self.proxies.is_linked(key))?.id;
        Some(self.out.frame(key.slot, id))
    }

    /// Answers a proxy. Without link the answer is dropped: the proxy asks again on its next one.
    pub(crate) fn answer(&mut self, key: PeerKey, answer: Answer) {
        if let Some(frame) = self.frame(key) {
            frame.answers.push(answer);
        }
    }

    /// Ends the link of a proxy that did what it must not.
    pub(crate) fn fault(&mut self, key: PeerKey, fault: LinkFault) {
        let Some(incarnation) = self.proxies.get(key) else {
            return;
        };
        let (id, proxy_name) = (incarnation.id, incarnation.proxy_name.clone());
        if self.proxies.unlink(key) {
            self.out.frame(key.slot, id).close = Some(fault.clone());
            self.out.fact(StorageFact::LinkEnded {
                incarnation: id,
                proxy_name,
                fault,
            });
        }
    }
}
