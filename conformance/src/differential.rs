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

use freshet_e2e::progress::display;
use futures::StreamExt as _;

use crate::brokers::{Kind, Server};
use crate::choice::Choice;
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
    #[command(flatten)]
    choice: Choice,
}

/// Runs the scripts, or prints the page.
///
/// # Errors
/// When a script is not well formed, or a broker does not start.
pub(crate) async fn run(arguments: &Arguments, freshet: &Path) -> anyhow::Result<ExitCode> {
    let groups = script::read_all()?;
    if arguments.choice.page {
        print!("{}", page::build(&groups));
        return Ok(ExitCode::SUCCESS);
    }
    let scripts: Vec<&Script> = groups.iter().flat_map(|(_, scripts)| scripts).collect();
    let choice = &arguments.choice;
    choice.require_known(|name| scripts.iter().any(|script| script.name == name))?;
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| arguments.broker.is_empty() || arguments.broker.contains(kind));
    let servers = futures::future::try_join_all(kinds.map(async |kind| {
        let server = Server::start(kind, freshet).await?;
        anyhow::Ok((kind, server))
    }))
    .await?;
    let began = Instant::now();
    let of_servers = servers.iter().map(|(kind, server)| {
        let mut plays = Vec::new();
        for &script in scripts.iter().filter(|script| choice.has(script.name)) {
            for version in choice.versions().filter(|version| script.is_for(*kind, *version)) {
                plays.push(Play {
                    script,
                    version,
                    kind: *kind,
                    server,
                });
            }
        }
        let running = plays.into_iter().map(async |of| (of, play(of).await));
        futures::stream::iter(running)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
    });
    let mut tally = Tally::default();
    for ((kind, _), played) in servers.iter().zip(futures::future::join_all(of_servers).await) {
        tally.add(*kind, played);
    }
    tally.print(&display(began.elapsed()));
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
