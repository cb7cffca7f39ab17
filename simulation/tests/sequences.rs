//! Random sequences of client actions, lost connections, takeovers and failures, judged by the reference model.
//!
//! `FRESHET_SIMULATION_SECONDS` says how long (default 5), or `FRESHET_SIMULATION_SEQUENCES` how many;
//! `FRESHET_SIMULATION_FIRST` the seed to begin with (default 0: the same sequences each time), `FRESHET_SIMULATION_SEED` runs
//! one seed and prints everything that was said.
#![expect(clippy::panic, reason = "helpers of a test fail it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freshet_simulation::{Failure, Memory, Sequence, run, run_traced, shrink};

/// Where neither time nor number is said.
const SECONDS_UNLESS_SAID: u64 = 5;
const SECONDS: &str = "FRESHET_SIMULATION_SECONDS";
const SEQUENCES: &str = "FRESHET_SIMULATION_SEQUENCES";
const FIRST: &str = "FRESHET_SIMULATION_FIRST";
const SEED: &str = "FRESHET_SIMULATION_SEED";

#[test]
fn every_sequence_keeps_every_rule() {
    keep_every_rule(Memory::Process);
}

#[test]
fn every_sequence_keeps_every_rule_where_storage_has_a_disk() {
    keep_every_rule(Memory::Disk);
}

fn keep_every_rule(memory: Memory) {
    if let Some(seed) = number_from(SEED) {
        let sequence = Sequence::draw(seed, memory);
        if let Err(failure) = run_traced(&sequence) {
            panic!("{sequence}{failure}");
        }
        return;
    }
    let first = number_from(FIRST).unwrap_or(0);
    println!("seeds from {first:#x}, {memory:?}");
    let count = number_from(SEQUENCES);
    let seconds = number_from(SECONDS).or_else(|| count.is_none().then_some(SECONDS_UNLESS_SAID));
    let started = Instant::now();
    let until = Until {
        seed: count.map_or(u64::MAX, |count| first.saturating_add(count)),
        time: seconds.map(|seconds| started + Duration::from_secs(seconds)),
    };
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| run_until(until, &next, memory)))
            .collect();
        let ended = runners.into_iter().map(std::thread::ScopedJoinHandle::join);
        // A sequence that broke a rule has been printed by the thread that ran it.
        ended
            .map(|tally| tally.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let sequences: u64 = tallies.iter().map(|t| t.sequences).sum();
    let published: usize = tallies.iter().map(|t| t.published).sum();
    let delivered: usize = tallies.iter().map(|t| t.delivered).sum();
    let loaded: usize = tallies.iter().map(|t| t.loaded).sum();
    let per_second = sequences as f64 / started.elapsed().as_secs_f64();
    println!("{memory:?}: {sequences} sequences on {threads} threads, {per_second:.0} a second");
    println!("{published} messages published, {delivered} delivered, {loaded} read back from disk");
    assert!(delivered > 0, "nothing was delivered: nothing was tried");
    assert!(
        loaded > 0 || memory == Memory::Process,
        "nothing was read back from disk"
    );
}

/// What one thread has run.
#[derive(Default)]
struct Tally {
    sequences: u64,
    published: usize,
    delivered: usize,
    loaded: usize,
}

/// When no further sequence is begun.
#[derive(Clone, Copy)]
struct Until {
    /// The first seed that is not run.
    seed: u64,
    time: Option<Instant>,
}

fn run_until(until: Until, next: &AtomicU64, memory: Memory) -> Tally {
    let mut tally = Tally::default();
    while until.time.is_none_or(|end| Instant::now() < end) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= until.seed {
            break;
        }
        let sequence = Sequence::draw(seed, memory);
        match run(&sequence) {
            Ok(outcome) => {
                tally.published += outcome.published;
                tally.delivered += outcome.delivered;
                tally.loaded += outcome.loaded;
            }
            Err(failure) => report(&sequence, &failure),
        }
        tally.sequences += 1;
    }
    tally
}

/// Prints the shortest sequence that fails in the same way, with all that was said in it, and fails.
fn report(sequence: &Sequence, failure: &Failure) -> ! {
    let (shortest, violation) = shrink(sequence, &failure.violation);
    let trace = run_traced(&shortest)
        .err()
        .map(|f| f.trace.join("\n"))
        .unwrap_or_default();
    panic!(
        "{}\n\n{trace}\n\n{shortest}\n{violation}\n{SEED}={:#x} runs the whole sequence",
        failure.violation, sequence.seed
    );
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}
