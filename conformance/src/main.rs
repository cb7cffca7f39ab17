//! `conformance`: scripts that stock MQTT clients run against Freshet, in both versions of the protocol; and
//! `conformance differences`: scripts that compare Freshet with other brokers (`differential`).
//!
//! Called by `make test`, and by hand with a client, a version or a script. A script is told once (`scripts`), on a
//! stage of clients behind relays (`stage`, `relay`); each client has a driver (`driver`) and what it needs to run is
//! installed when missing (`toolchain`). The same tables make a page of the documentation (`page`).

mod brokers;
mod cannot;
mod choice;
mod differential;
mod driver;
mod history;
mod kubernetes;
mod message;
mod page;
mod relay;
mod run;
mod scripts;
mod stage;
mod toolchain;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Parser;
use freshet_e2e::progress::display;
use tokio::signal::unix::{SignalKind, signal};

use brokers::Broker;
use choice::Choice;
use driver::{Client, Driver};
use run::{Ended, Outcome, Run, Verdict, judge, run_all};
use scripts::{DEVICES, SCRIPTS, awaited};

/// Runs stock MQTT clients through scripts, against Freshet.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommand>,
    /// Only these clients.
    #[arg(long, value_enum)]
    client: Vec<Client>,
    #[command(flatten)]
    choice: Choice,
    /// On the Kubernetes of the tests, through the Service of a cluster of several proxies.
    #[arg(long)]
    kubernetes: bool,
    /// The program of the broker. Default: beside this one.
    #[arg(long, global = true)]
    freshet: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Runs the same scripts against Freshet and other brokers, and compares what comes back.
    Differences(differential::Arguments),
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.choice.page {
        print!("{}", page::build());
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let work = async {
            match &arguments.command {
                Some(Subcommand::Differences(of)) => differential::run(of, &freshet_program(&arguments)?).await,
                None => clients(&arguments).await,
            }
        };
        let mut terminated = signal(SignalKind::terminate()).context("no signals")?;
        // What was started and made goes with the work that is dropped.
        tokio::select! {
            ended = work => ended,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    })
}

/// Every script with every client in both versions.
async fn clients(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let scripts = || SCRIPTS.iter().chain(&DEVICES);
    let is_known = |name: &str| scripts().any(|script| script.name == name);
    arguments.choice.require_known(is_known)?;
    let mut drivers = Vec::new();
    for client in Client::ALL {
        if arguments.client.is_empty() || arguments.client.contains(&client) {
            drivers.push((client, Driver::start(client).await?));
        }
    }
    let mut runs = Vec::new();
    // Script by script, so that the slow ones of all clients begin early.
    for script in scripts().filter(|script| arguments.choice.has(script.name)) {
        let of_device = DEVICES.iter().any(|device| device.name == script.name);
        for (client, driver) in &drivers {
            // The other end of a device is the client that needs no process.
            if of_device && *client != Client::Rumqttc {
                continue;
            }
            for version in arguments.choice.versions() {
                runs.push(Run {
                    script,
                    client: *client,
                    version,
                    driver,
                });
            }
        }
    }
    let failed = if arguments.kubernetes {
        kubernetes::with_cluster(async |address| Ok(run_and_tell(runs, address).await)).await?
    } else {
        let broker = Broker::freshet(&freshet_program(arguments)?).await?;
        run_and_tell(runs, broker.address).await
    };
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs scripts against a broker, tells what came of each, and returns how many failed.
async fn run_and_tell(runs: Vec<Run<'_>>, broker: SocketAddr) -> u32 {
    let began = Instant::now();
    let (mut passed, mut failed, mut left) = (0, 0, 0);
    run_all(runs, broker, |ended| {
        match judge(ended.run.script.name, &ended.outcome) {
            Verdict::Passed => passed += 1,
            Verdict::Failed => failed += 1,
            Verdict::Left => left += 1,
        }
        tell(&ended);
    })
    .await;
    // Read by `xtask test` and by whoever counts.
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; {left} ignored; 0 measured; 0 filtered out; \
         finished in {}",
        display(began.elapsed())
    );
    failed
}

/// The broker's program: cargo puts all programs of the workspace into one folder.
fn freshet_program(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    match &arguments.freshet {
        Some(program) => Ok(program.clone()),
        None => Ok(std::env::current_exe()
            .context("the path of this program")?
            .with_file_name("freshet")),
    }
}

/// One line for each run, and what it found below.
fn tell(ended: &Ended<'_>) {
    let Ended { run, outcome, took } = ended;
    let name = run.script.name;
    let word = match judge(name, outcome) {
        Verdict::Passed => "ok      ",
        Verdict::Failed => "FAILED  ",
        Verdict::Left => "left out",
    };
    let detail = match (outcome, awaited(name)) {
        (Outcome::Cannot(reason), _) => (*reason).to_owned(),
        (Outcome::Differs(_), Some(feature)) => format!("awaits {feature}"),
        (Outcome::Passed, Some(feature)) => format!("passed, though it awaits {feature}: take it off the list"),
        (Outcome::Broken(error), _) => format!("{error:#}"),
        (Outcome::Passed | Outcome::Differs(_), None) => String::new(),
    };
    let took = display(*took);
    println!(
        "{word} {:<10} {:<6} {name:<12} {took:>8}  {detail}",
        run.client.name(),
        run.version.name()
    );
    if let (Outcome::Differs(findings), None) = (outcome, awaited(name)) {
        for finding in findings {
            println!("    {}", finding.step);
            println!("      expected {}", finding.expected);
            println!("      seen     {}", finding.seen);
        }
    }
}
