//! What a connection costs: CPU of CONNECT and CONNACK.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::guest::{Guest, admit};
use super::meter::Broker;

/// Connections before the first reading, so that what the process does once is not counted.
const WARM_UP: usize = 200;
/// The figures of one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Connects {
    /// CPU of all processes of the broker, for each connection.
    pub broker_us: f64,
    /// From the first connection to the last CONNACK.
    pub per_second: f64,
}

/// Connects so many clients, some at once, and keeps them until the end.
///
/// # Errors
/// When one is refused.
pub fn connects(broker: &dyn Broker, count: u32) -> anyhow::Result<Connects> {
    let mut sockets = Vec::new();
    connect(broker, "warm", WARM_UP, &mut sockets)?;
    let before = broker.usage()?;
    let started = Instant::now();
    connect(broker, "c", usize::try_from(count)?, &mut sockets)?;
    let took = started.elapsed();
    let after = broker.usage()?;
    let ns = (after.proxy_ns - before.proxy_ns) + (after.storage_ns - before.storage_ns);
    let connections = f64::from(count);
    Ok(Connects {
        broker_us: Duration::from_nanos(ns).as_secs_f64() * 1e6 / connections,
        per_second: connections / took.as_secs_f64(),
    })
}

fn connect(broker: &dyn Broker, prefix: &str, count: usize, sockets: &mut Vec<TcpStream>) -> anyhow::Result<()> {
    let guests: Vec<Guest> = (0..count)
        .map(|at| Guest::clean(format!("{prefix}{at}"), None))
        .collect();
    sockets.extend(admit(broker.addresses(), &guests.iter().collect::<Vec<_>>(), 0)?);
    Ok(())
}
