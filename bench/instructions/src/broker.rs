//! A broker without a shell: one worker, its link and storage, joined as they are in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use freshet_config::{ProxyConfig, StorageConfig};
use freshet_proxy_core::exchange::{ToLink, WorkerId};
use freshet_proxy_core::link::{Link, LinkOutputs, LinkSettings};
use freshet_proxy_core::worker::{
    Actions, ConnectionToken, ListenerIndex, Received, Worker, WorkerSettings, strategy_of,
};
use freshet_storage_contract::{ClusterUid, IncarnationId, MonotonicMs, Term};
use freshet_storage_core::{Outputs, StorageCore, StorageSettings};

const UID: &str = "instructions";
const OWN: WorkerId = WorkerId(0);
/// What a socket would be handed at once.
const WRITE_BYTES: usize = 256 << 10;
/// Far beyond what any work needs.
const BUDGET_BYTES: u64 = 1 << 30;
/// Behind the recovery hold, and before any lease has to be renewed.
const NOW: MonotonicMs = MonotonicMs(1_000);

/// The cores of one process.
pub(crate) struct Broker {
    worker: Worker,
    actions: Actions,
    link: Link,
    to_storage: LinkOutputs,
    storage: StorageCore,
    from_storage: Outputs,
    incarnation: IncarnationId,
    to_link: Vec<ToLink>,
    dirty: Vec<ConnectionToken>,
}

impl Broker {
    /// One that serves.
    ///
    /// # Errors
    /// When storage refuses its proxy.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let cluster_uid = ClusterUid(UID.to_owned());
        let config = ProxyConfig {
            cluster_uid: UID.to_owned(),
            ..ProxyConfig::default()
        };
        let storage_config = StorageConfig {
            cluster_uid: UID.to_owned(),
            ..StorageConfig::default()
        };
        let link_settings = LinkSettings {
            cluster_uid,
            proxy_name: UID.to_owned(),
            workers: 1,
            delivery_credit_bytes: BUDGET_BYTES,
            shared_strategy: strategy_of(config.mqtt.shared_strategy),
            random_keys: (1, 2),
        };
        let worker_settings = WorkerSettings {
            id: OWN,
            proxy_name: UID.to_owned(),
            max_connections: u32::MAX,
            outstanding_publish_bytes: BUDGET_BYTES,
            outbound_bytes: BUDGET_BYTES,
            input_bytes: BUDGET_BYTES,
            copies_deliveries: false,
            random_keys: (1, 2),
        };
        let mut settings = StorageSettings::new(&storage_config, 3);
        settings.recovery_hold_ms = 0;
        settings.sys_interval_ms = 0;
        let incarnation = IncarnationId(1);
        let mut broker = Self {
            worker: Worker::new(worker_settings, Arc::new(config)),
            actions: Actions::default(),
            link: Link::new(link_settings, incarnation),
            to_storage: LinkOutputs::new(1),
            storage: StorageCore::new(settings, Term(1), MonotonicMs(0))?,
            from_storage: Outputs::new(),
            incarnation,
            to_link: Vec::new(),
            dirty: Vec::new(),
        };
        let frame = broker.link.attach_frame();
        let attached = broker.storage.attach(&frame, NOW, &mut broker.from_storage);
        let attached = attached.context("storage refuses its proxy")?;
        broker.link.attached(&attached, NOW, &mut broker.to_storage)?;
        broker.exchange()?;
        Ok(broker)
    }

    /// A client's connection.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn accept(&mut self) -> anyhow::Result<ConnectionToken> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let accepted = self.worker.accept(ListenerIndex(0), peer, NOW, &mut self.actions);
        accepted.map_err(|refusal| anyhow::anyhow!("refused: {refusal:?}"))
    }

    /// What a client has sent.
    ///
    /// # Errors
    /// When the client is ended for it, or is to be read later.
    pub(crate) fn receive(&mut self, token: ConnectionToken, bytes: &[u8]) -> anyhow::Result<()> {
        let received = self.worker.receive(token, bytes, NOW, &mut self.actions);
        ensure!(received == Received::Continue, "{received:?}: {:?}", self.actions.facts);
        Ok(())
    }

    /// The client has closed its connection behind DISCONNECT.
    ///
    /// # Errors
    /// When it was not ended by that.
    pub(crate) fn disconnect(&mut self, token: ConnectionToken, packet: &[u8]) -> anyhow::Result<()> {
        let received = self.worker.receive(token, packet, NOW, &mut self.actions);
        ensure!(received == Received::Close, "{received:?}");
        self.actions.close.clear();
        self.worker.closed(token, NOW, &mut self.actions);
        Ok(())
    }

    /// A turn: everything goes its way, and `sent` is shown what goes to the sockets.
    ///
    /// # Errors
    /// When link and storage do not understand each other, or a connection ends.
    pub(crate) fn turn(&mut self, mut sent: impl FnMut(ConnectionToken, &[u8])) -> anyhow::Result<()> {
        self.exchange()?;
        std::mem::swap(&mut self.dirty, &mut self.actions.dirty);
        for token in self.dirty.drain(..) {
            loop {
                let output = self.worker.pending_output(token, WRITE_BYTES, NOW);
                let bytes = output.len();
                for slice in output.slices() {
                    sent(token, slice);
                }
                self.worker.written(token, bytes, NOW, &mut self.actions);
                if bytes == 0 || !self.worker.has_output(token) {
                    break;
                }
            }
        }
        if let Some(token) = self.actions.close.first() {
            bail!("{token:?} ended: {:?}", self.actions.facts);
        }
        self.actions.facts.clear();
        Ok(())
    }

    fn exchange(&mut self) -> anyhow::Result<()> {
        loop {
            for event in self
                .to_storage
                .to_workers
                .iter_mut()
                .flat_map(|events| events.drain(..))
            {
                self.worker.handle(event, NOW, &mut self.actions);
            }
            self.worker.finish_turn(NOW, &mut self.actions);
            std::mem::swap(&mut self.actions.to_link, &mut self.to_link);
            for event in self.to_link.drain(..) {
                self.link.handle_worker(OWN, event, &mut self.to_storage);
            }
            self.link.flush(&mut self.to_storage);
            while !self.to_storage.operations.is_empty() || !self.to_storage.controls.is_empty() {
                self.ask_storage()?;
                self.link.flush(&mut self.to_storage);
            }
            if self.to_storage.to_workers.iter().all(Vec::is_empty) && self.actions.to_link.is_empty() {
                return Ok(());
            }
        }
    }

    fn ask_storage(&mut self) -> anyhow::Result<()> {
        let (incarnation, out) = (self.incarnation, &mut self.from_storage);
        for operation in self.to_storage.operations.drain(..) {
            self.storage.handle(incarnation, operation, NOW, out);
        }
        for control in self.to_storage.controls.drain(..) {
            self.storage.handle_control(incarnation, control, NOW, out);
        }
        for frame in out.drain_proxies() {
            for answer in frame.answers {
                self.link.handle_answer(answer, &mut self.to_storage)?;
            }
            for delivery in frame.deliveries {
                self.link.handle_delivery(delivery, &mut self.to_storage)?;
            }
            ensure!(frame.close.is_none(), "storage ends the link: {:?}", frame.close);
        }
        drop(self.from_storage.drain_facts());
        Ok(())
    }
}
