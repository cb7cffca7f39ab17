//! Prints the figures of docs/scaling.md: every kind of trace with some seeds, all policies.

use std::io::Write;
use std::time::Duration;

use freshet_scaling::Settings;
use freshet_scaling::backtest::{Backtest, Policy, replay};
use freshet_scaling::trace::{Kind, generate};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let delay = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(180);
    let seeds: Vec<u64> = arguments.next().map_or(vec![1, 2], |text| {
        text.split(',').filter_map(|seed| seed.parse().ok()).collect()
    });
    let only = arguments.next();
    let mut out = std::io::stdout().lock();
    let _ = writeln!(
        out,
        "| trace | seed | bad minutes r/f/h/o | gap closed min % | unserved % | proxy-hours r/f | more % | actions r/f | reversals r/f |"
    );
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
                warm: 1,
                history: Duration::from_secs(3 * 86400),
            };
            let [f, r, h, o] = Policy::ALL.map(|policy| replay(&trace, &backtest, policy, |_| {}));
            let closed = |r: f64, f: f64, o: f64| (r - f) / (r - o).max(1e-9) * 100.0;
            let _ = writeln!(
                out,
                "| {} | {} | {}/{}/{}/{} | {:.0} | {:.0} | {:.0}/{:.0}/o{:.0} | {:+.1} | {}/{} | {}/{} |",
                kind.name(),
                seed,
                r.bad_minutes,
                f.bad_minutes,
                h.bad_minutes,
                o.bad_minutes,
                closed(r.bad_minutes as f64, f.bad_minutes as f64, o.bad_minutes as f64),
                closed(
                    r.unserved_connection_seconds + r.unserved_publish_seconds,
                    f.unserved_connection_seconds + f.unserved_publish_seconds,
                    o.unserved_connection_seconds + o.unserved_publish_seconds
                ),
                r.proxy_hours,
                f.proxy_hours,
                o.proxy_hours,
                (f.proxy_hours / r.proxy_hours - 1.0) * 100.0,
                r.scale_actions,
                f.scale_actions,
                r.reversals,
                f.reversals
            );
        }
    }
}
