//! Prints the table of docs/scaling.md: `figures [CAPACITY_DELAY_S] [SEED,SEED...] [KIND]`, 14 days of each kind of trace
//! with each seed, of which 3 are history. Default: 180 s and the seeds 101, 102 and 103.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use freshet_scaling::backtest::{Backtest, Policy, Score, replay};
use freshet_scaling::trace::{Kind, generate};
use freshet_scaling::{Pool, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let delay: u64 = arguments.next().map_or(Ok(180), |text| text.parse())?;
    let seeds = arguments.next().unwrap_or_else(|| "101,102,103".to_owned());
    let seeds: Vec<u64> = seeds.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let only = arguments.next();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| trace | seed | bad minutes: hpa | reactive | freshet | oracle | gap closed, minutes | unserved | proxy-hours: \
         hpa | reactive | freshet | oracle | freshet to reactive |\n|{}",
        " --- |".repeat(13)
    )?;
    for kind in Kind::ALL {
        if only.as_deref().is_some_and(|only| only != kind.name()) {
            continue;
        }
        for seed in &seeds {
            let trace = generate(kind, *seed, 14, Duration::from_secs(10));
            let backtest = Backtest {
                settings: Settings {
                    capacity_delay: Duration::from_secs(delay),
                    ..Settings::default()
                },
                pool: Pool::fixed(1),
                history: Duration::from_secs(3 * 86_400),
            };
            let [freshet, reactive, hpa, oracle] = Policy::ALL.map(|policy| replay(&trace, &backtest, policy, |_| {}));
            let closed = |measure: fn(&Score) -> f64| {
                let gap = measure(&reactive) - measure(&oracle);
                if gap <= 0.0 {
                    return "-".to_owned();
                }
                format!("{:.0} %", (measure(&reactive) - measure(&freshet)) / gap * 100.0)
            };
            writeln!(
                out,
                "| {} | {seed} | {} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:+.1} % |",
                kind.name(),
                hpa.bad_minutes,
                reactive.bad_minutes,
                freshet.bad_minutes,
                oracle.bad_minutes,
                closed(|score| score.bad_minutes as f64),
                closed(|score| score.unserved_connection_seconds + score.unserved_publish_seconds),
                hpa.proxy_hours,
                reactive.proxy_hours,
                freshet.proxy_hours,
                oracle.proxy_hours,
                (freshet.proxy_hours / reactive.proxy_hours - 1.0) * 100.0
            )?;
        }
    }
    Ok(())
}
