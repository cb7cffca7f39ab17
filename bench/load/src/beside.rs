//! Those that are in ([`Others`]), on a thread of their own, while the load does something that takes its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::meter::{Broker, Percentiles};
use super::others::Others;

const STEP: Duration = Duration::from_millis(1);
/// Behind the last phase.
const END: usize = usize::MAX;

/// Clients at work beside the load. What they notice is kept apart for each phase.
#[derive(Debug)]
pub struct Beside {
    phase: Arc<AtomicUsize>,
    thread: JoinHandle<anyhow::Result<Vec<Percentiles>>>,
}

impl Beside {
    /// Connects them, and lets them begin with the first phase.
    ///
    /// # Errors
    /// When one is refused.
    pub fn start(broker: &dyn Broker, seed: u64) -> anyhow::Result<Self> {
        let addresses = broker.addresses().to_vec();
        let phase = Arc::new(AtomicUsize::new(0));
        let said = phase.clone();
        let (is_in, all_in) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let mut others = Others::connect(&addresses, seed)?;
            // Nobody listens when the measurement has failed meanwhile.
            let _ = is_in.send(());
            let mut noticed = Vec::new();
            loop {
                others.step(STEP)?;
                let now = said.load(Ordering::Relaxed);
                if now == END {
                    others.end()?;
                    noticed.push(others.take_latencies());
                    return Ok(noticed);
                }
                while noticed.len() < now {
                    noticed.push(others.take_latencies());
                }
            }
        });
        let beside = Self { phase, thread };
        match all_in.recv() {
            Ok(()) => Ok(beside),
            // The thread has ended without a word, and says why.
            Err(_) => Err(beside.end().err().context("the clients beside the load have gone")?),
        }
    }

    /// Begins the next phase.
    pub fn next_phase(&self) {
        self.phase.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends them. Returns the latencies of each phase.
    ///
    /// # Errors
    /// When a message was lost, doubled or overtaken, or the broker has failed.
    pub fn end(self) -> anyhow::Result<Vec<Percentiles>> {
        self.phase.store(END, Ordering::Relaxed);
        let noticed = self.thread.join();
        noticed.unwrap_or_else(|_| Err(anyhow::anyhow!("the clients beside the load have panicked")))
    }
}
