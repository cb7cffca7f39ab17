//! The model finds mistakes that it was not written for: each one planted in the cores is found within a minute, from
//! three different seeds.
//!
//! `FRESHET_SIMULATION_FAULT` names the one to try.

use std::time::{Duration, Instant};

use freshet_simulation::planted::Planted;
use freshet_simulation::{Sequence, run};

const STARTS: [u64; 3] = [1 << 40, 2 << 40, 3 << 40];
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn each_planted_mistake_is_found_from_three_seeds() {
    let mut missed = Vec::new();
    let only = std::env::var("FRESHET_SIMULATION_FAULT").ok();
    let wanted = |fault: &Planted| {
        only.as_ref()
            .is_none_or(|name| format!("{fault:?}").contains(name.as_str()))
    };
    for fault in Planted::all().filter(wanted) {
        for start in STARTS {
            let began = Instant::now();
            let found = (start..)
                .take_while(|_| began.elapsed() < LIMIT)
                .find_map(|seed| Some((seed, breaks(fault, seed)?)));
            let Some((seed, rule)) = found else {
                println!("{fault:?} from {start:#x}: not found");
                missed.push((fault, start));
                continue;
            };
            assert!(run(&Sequence::draw(seed)).is_ok(), "{seed:#x} fails without a mistake");
            let (count, seconds) = (seed - start + 1, began.elapsed().as_secs_f32());
            println!("{fault:?} from {start:#x}: {count} sequences, {seconds:.2} s: {rule}");
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// The rule that a sequence breaks when the mistake is made.
fn breaks(fault: Planted, seed: u64) -> Option<&'static str> {
    let ran = fault.within(|| run(&Sequence::draw(seed)));
    ran.err().map(|failure| failure.violation.rule)
}
