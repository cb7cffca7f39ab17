//! Devices on a cluster: as many as asked for, come one after the other, and what became of their messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use freshet_bench_load::raise_file_limit;
use freshet_e2e::condition::{Observed, await_condition};
use tokio::task::JoinSet;

use crate::broker::{Broker, DEADLINE};
use crate::client::Client;
use crate::device::{Device, Outcome, Report, SETTINGS, Watching, outcome_of};
use crate::stage::{metric, proxies};

/// Between the first connections of two devices.
const APART: Duration = Duration::from_millis(3);
/// Between two messages of a device.
const EVERY: Duration = Duration::from_secs(5);

/// Devices at work, half of them with QoS 1 and half with QoS 2, each with a will and a session that lasts.
pub(crate) struct Devices {
    ends: Arc<AtomicBool>,
    devices: JoinSet<Result<Report>>,
    watching: Watching,
    count: usize,
}

impl Devices {
    /// Connects `count` of them, and returns when all are there.
    pub(crate) async fn begin(broker: &Broker<'_>, address: SocketAddr, count: u16) -> Result<Self> {
        raise_file_limit();
        let (mut owner, _) = Client::connect(address, "owner").await?;
        ensure!(!owner.publish(SETTINGS, b"retained", true).await?.is_error());
        drop(owner);
        let ends = Arc::new(AtomicBool::new(false));
        let watching = Watching::begin(address).await?;
        let mut devices = JoinSet::new();
        let mut ticks = tokio::time::interval(APART);
        for number in 0..count {
            ticks.tick().await;
            devices.spawn(
                Device::new(number)
                    .every(EVERY)
                    .listening()
                    .run(address, Arc::clone(&ends)),
            );
        }
        let begun = Self {
            ends,
            devices,
            watching,
            count: usize::from(count),
        };
        begun.all_there(broker).await?;
        Ok(begun)
    }

    /// Waits until all are connected, wherever they are.
    pub(crate) async fn all_there(&self, broker: &Broker<'_>) -> Result<()> {
        // The watcher is one, too.
        await_clients(broker, self.count + 1).await
    }

    /// Asks all to end, and says what became of their messages.
    pub(crate) async fn end(self) -> Result<Outcome> {
        self.ends.store(true, Ordering::Relaxed);
        outcome_of(self.devices, self.watching).await
    }
}

/// Waits until so many clients are connected.
pub(crate) async fn await_clients(broker: &Broker<'_>, count: usize) -> Result<()> {
    await_condition(&format!("{count} clients are connected"), DEADLINE, async || {
        let clients = metric(&proxies(broker).await?, "freshet_proxy_clients").await;
        Ok(if clients.values().sum::<u64>() == u64::try_from(count)? {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{clients:?}"))
        })
    })
    .await
}
