//! Row 8: fifteen thousand clients come at once through the Service, beside fifty pairs at work.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use freshet_bench_load::{Memory, Storm, Usage, raise_file_limit, storm};
use serde_json::{Value, json};

use crate::broker::with_broker_alone;
use crate::table::{Figures, Row, Sheet, ms};

const CLIENTS: u32 = 15_000;
const ROUNDS: u64 = 3;
const ALL_IN: Duration = Duration::from_secs(8);
const OTHERS_MS: f64 = 100.0;

/// The cluster, as the load knows a broker: what its processes use is not asked.
struct Target(SocketAddr);

impl freshet_bench_load::Broker for Target {
    fn addresses(&self) -> &[SocketAddr] {
        std::slice::from_ref(&self.0)
    }

    fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    fn memory(&self) -> Result<Memory> {
        bail!("not asked of a cluster")
    }
}

/// Two proxies and storage without CPU limits: the machine is what there is.
fn spec() -> Value {
    let resources = json!({"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}});
    json!({
        "proxy": {"replicas": 2, "resources": resources, "warm": {"min": 0}, "rebalance": {"mode": "OnReconnectOnly"}},
        "storage": {"resources": resources},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn storm_of_clients() -> Result<()> {
    let sheet = Sheet::begin()?;
    raise_file_limit();
    let mut storms: Vec<Storm> = Vec::new();
    for seed in 0..ROUNDS {
        // A cluster for each: behind the same port of the node, clients wait a minute for the ports of those before them.
        with_broker_alone("measure-storm", spec(), async |broker| {
            let address = broker.address().await?;
            broker.await_all_reached(2).await?;
            let storm = tokio::task::spawn_blocking(move || storm(&Target(address), CLIENTS, seed)).await??;
            println!(
                "all in after {:.1} s, {} came again; others' P99 {:.1} ms, {:.1} ms before",
                storm.all_in_s,
                storm.again,
                storm.p99_us / 1e3,
                storm.calm_p99_us / 1e3
            );
            storms.push(storm);
            Ok(())
        })
        .await?;
    }
    write(&sheet, &storms)
}

fn write(sheet: &Sheet, storms: &[Storm]) -> Result<()> {
    let rounds = || storms.iter().enumerate();
    let entered = rounds().flat_map(|(round, storm)| {
        let cells = move |at: &Duration| [round.to_string(), format!("{:.0}", ms(*at))];
        storm.entered.iter().map(cells)
    });
    sheet.write_samples("storm-entered", &["round", "connack_after_ms"], entered)?;
    let others = rounds().flat_map(|(round, storm)| {
        let cells = move |us: &u32| [round.to_string(), us.to_string()];
        storm.others_us.iter().map(cells)
    });
    sheet.write_samples("storm-others", &["round", "latency_us"], others)?;
    let again: u64 = storms.iter().map(|storm| storm.again).sum();
    let all_in = Figures::of(storms.iter().map(|storm| storm.all_in_s));
    let others = Figures::of(
        storms
            .iter()
            .flat_map(|storm| &storm.others_us)
            .map(|us| f64::from(*us) / 1e3),
    );
    let calm = Figures::of(storms.iter().map(|storm| storm.calm_p99_us / 1e3));
    let limit = ALL_IN.as_secs_f64();
    sheet.write(&[
        Row::new(
            (8, 1),
            format!("{CLIENTS} clients at once: until all are in"),
            "s",
            all_in,
        )
        .goal(format!("each <= {limit:.0} s"), |figures| figures.max <= limit)
        .note(format!(
            "2 proxies without CPU limit, clean sessions, {again} came again; n is the number of storms"
        )),
        Row::new((8, 2), "meanwhile, a message of those that are in", "ms", others)
            .goal(format!("P99 <= {OTHERS_MS:.0} ms"), |figures| figures.p99 <= OTHERS_MS)
            .note(format!("50 pairs, QoS 1; P99 before the storm {:.1} ms", calm.p50)),
    ])
}
