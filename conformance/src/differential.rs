//! `conformance differences`: the same scripts against Freshet and against brokers of others, packet by packet.
//!
//! A script (`script`) says what every client is sent. Where a broker is known to do something else, the script says
//! what, and who is right by the specification. A difference that is not written there fails the run, and so does one
//! that is gone; Freshet has none. The same scripts make a page of the documentation (`page`).

mod client;
mod connection;
mod observe;
mod page;
mod play;
mod script;
mod send;
mod words;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::ensure;
use freshet_e2e::progress::display;
use futures::StreamExt as _;

use crate::brokers::{Broker, Kind};
use crate::message::Version;
use play::{Finding, Play, Played, play};
use script::Script;

/// Scripts that run at once against one broker. They wait most of the time.
const AT_ONCE: usize = 12;

/// Which scripts against which brokers.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these brokers.
    #[arg(long, value_enum)]
    broker: Vec<Kind>,
    /// Only these scripts.
    #[arg(long)]
    script: Vec<String>,
    /// Only this version: 3.1.1 or 5.0.
    #[arg(long)]
    mqtt: Option<String>,
    /// Prints docs/differences.md, and runs nothing.
    #[arg(long)]
    page: bool,
}

/// Runs the scripts, or prints the page.
///
/// # Errors
/// When a script is not well formed, or a broker does not start.
pub(crate) async fn run(arguments: &Arguments, freshet: &Path) -> anyhow::Result<ExitCode> {
    let groups = script::read_all()?;
    if arguments.page {
        print!("{}", page::build(&groups));
        return Ok(ExitCode::SUCCESS);
    }
    let scripts: Vec<&Script> = groups.iter().flat_map(|(_, scripts)| scripts).collect();
    for name in &arguments.script {
        ensure!(
            scripts.iter().any(|script| script.name == *name),
            "there is no script {name:?}"
        );
    }
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| arguments.broker.is_empty() || arguments.broker.contains(kind));
    let brokers = futures::future::try_join_all(kinds.map(async |kind| {
        let broker = Broker::start(kind, freshet).await?;
        anyhow::Ok((kind, broker))
    }))
    .await?;
    let began = Instant::now();
    let plays = |kind: Kind, broker: &Broker| {
        let mut plays = Vec::new();
        for &script in &scripts {
            for version in Version::ALL {
                if is_chosen(arguments, script, version) && script.without.iter().all(|(without, _)| *without != kind) {
                    let address = broker.address;
                    plays.push(Play {
                        script,
                        version,
                        kind,
                        address,
                    });
                }
            }
        }
        plays
    };
    let of_brokers = brokers.iter().map(|(kind, broker)| {
        let running = plays(*kind, broker).into_iter().map(async |of| (of, play(of).await));
        futures::stream::iter(running)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
    });
    let mut tally = Tally::default();
    for ((kind, _), played) in brokers.iter().zip(futures::future::join_all(of_brokers).await) {
        tally.add(*kind, played);
    }
    tally.print(&display(began.elapsed()));
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_chosen(arguments: &Arguments, script: &Script, version: Version) -> bool {
    script.versions.contains(&version)
        && arguments.mqtt.as_deref().is_none_or(|name| name == version.name())
        && (arguments.script.is_empty() || arguments.script.iter().any(|name| name == script.name))
}

/// What came of all scripts.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Counts what came of the scripts of a broker, and tells what was found.
    fn add(&mut self, kind: Kind, mut played: Vec<(Play<'_>, anyhow::Result<Played>)>) {
        played.sort_by_key(|(play, _)| (play.script.name, play.version));
        let (mut same, mut differ) = (0, 0);
        for (play, outcome) in played {
            let what = format!("{} {} {}", kind.word(), play.version.name(), play.script.name);
            match outcome {
                Ok(played) if played.findings.is_empty() => {
                    self.passed += 1;
                    if played.differences == 0 {
                        same += 1;
                    } else {
                        differ += 1;
                    }
                }
                Ok(played) => {
                    self.failed += 1;
                    println!("FAILED   {what}");
                    played.findings.iter().for_each(tell);
                }
                Err(error) => {
                    self.failed += 1;
                    println!("FAILED   {what}: {error:#}");
                }
            }
        }
        println!(
            "ok       {:<10} {same} scripts as written, {differ} with known differences",
            kind.word()
        );
    }

    fn print(&self, took: &str) {
        // Read by `xtask test` and by whoever counts.
        let verdict = if self.failed == 0 { "ok" } else { "FAILED" };
        let Self { passed, failed } = self;
        println!(
            "test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {took}"
        );
    }
}

fn tell(finding: &Finding) {
    let Finding {
        line,
        client,
        expected,
        seen,
        is_gone,
    } = finding;
    let gone = if *is_gone {
        " (the difference is gone: take its row away)"
    } else {
        ""
    };
    match line {
        0 => println!("    at the end, {client}"),
        line => println!("    line {line}, {client}{gone}"),
    }
    println!("      written {expected}");
    println!("      seen    {seen}");
}
