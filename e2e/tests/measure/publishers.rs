//! Clients that publish at a rate that can be changed while they do, and how long each publication took.
//!
//! A client whose connection ends comes back a moment later. What a client has not published in time, because it was away or
//! waited for an acknowledgement, it does not make up for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use freshet_bench_load::raise_file_limit;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;

/// How long a client waits before it comes back, and tries again.
const AGAIN: Duration = Duration::from_millis(200);
/// Between the first connections of two clients.
const APART: Duration = Duration::from_millis(3);
/// Of the golden ratio: spreads what a number of clients does evenly over any interval.
const SPREAD: f64 = 0.618_033_988_75;

/// One publication with QoS 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) sent: Instant,
    pub(crate) round_trip: Duration,
}

/// Clients at work until this is dropped.
pub(crate) struct Publishers {
    every: watch::Sender<Duration>,
    samples: Arc<Mutex<Vec<Sample>>>,
    _clients: JoinSet<()>,
}

impl Publishers {
    /// Connects `count` clients that publish once in `every`, each to a topic of its own.
    pub(crate) async fn begin(address: SocketAddr, count: u32, every: Duration) -> Self {
        raise_file_limit();
        let (sender, receiver) = watch::channel(every);
        let samples = Arc::new(Mutex::new(Vec::new()));
        let mut clients = JoinSet::new();
        let mut ticks = tokio::time::interval(APART);
        for number in 0..count {
            ticks.tick().await;
            clients.spawn(run(address, number, receiver.clone(), Arc::clone(&samples)));
        }
        Self {
            every: sender,
            samples,
            _clients: clients,
        }
    }

    /// Lets each client publish once in `every` from now on.
    pub(crate) fn publish_every(&self, every: Duration) {
        self.every.send_replace(every);
    }

    /// What was measured since the last call.
    pub(crate) fn take_samples(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn run(address: SocketAddr, number: u32, mut every: watch::Receiver<Duration>, samples: Arc<Mutex<Vec<Sample>>>) {
    loop {
        if let Ok((mut client, _)) = Client::connect(address, &format!("publisher-{number}")).await {
            // Ends with the connection.
            let _ = publish(&mut client, number, &mut every, &samples).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn publish(
    client: &mut Client,
    number: u32,
    every: &mut watch::Receiver<Duration>,
    samples: &Mutex<Vec<Sample>>,
) -> Result<()> {
    let topic = format!("publishers/{number}");
    let place = (f64::from(number) * SPREAD).fract();
    let mut interval = *every.borrow_and_update();
    let mut due = tokio::time::Instant::now() + interval.mul_f64(place);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            changed = every.changed() => {
                changed?;
                interval = *every.borrow_and_update();
                due = tokio::time::Instant::now() + interval.mul_f64(place);
                continue;
            }
            heard = client.next(|_| ()) => match heard? {
                Some(()) => continue,
                None => return Ok(()),
            },
        }
        let sent = Instant::now();
        client.publish(&topic, b"what a publisher says", false).await?;
        let sample = Sample {
            sent,
            round_trip: sent.elapsed(),
        };
        samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        due = (due + interval).max(tokio::time::Instant::now());
    }
}
