//! `conformance`: scripts that stock MQTT clients run against Freshet, in both versions of the protocol; and
//! `conformance differences`: scripts that compare Freshet with other brokers (`differential`).
//!
//! Called by `make test`, and by hand with a client, a version or a script. A script is told once (`scripts`), on a
//! stage of clients behind relays (`stage`, `relay`); each client has a driver (`driver`) and what it needs to run is
//! installed when missing (`toolchain`). The same tables make a page of the documentation (`page`).

mod brokers;
mod cannot;
mod differential;
mod driver;
mod history;
mod message;
mod page;
mod relay;
mod run;
mod scripts;
mod stage;
mod toolchain;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Parser;
use freshet_e2e::progress::display;

use brokers::Broker;
use driver::{Client, Driver};
use message::Version;
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
    /// Only these scripts.
    #[arg(long)]
    script: Vec<String>,
    /// Only this version: 3.1.1 or 5.0.
    #[arg(long)]
    mqtt: Option<String>,
    /// Prints docs/clients.md, and runs nothing.
    #[arg(long)]
    page: bool,
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
    if arguments.page {
        print!("{}", page::build());
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    match &arguments.command {
        Some(Subcommand::Differences(of)) => runtime.block_on(differential::run(of, &freshet_program(&arguments)?)),
        None => runtime.block_on(clients(&arguments)),
    }
}

/// Every script with every client in both versions.
async fn clients(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let unknown = arguments
        .script
        .iter()
        .find(|name| SCRIPTS.iter().chain(&DEVICES).all(|script| script.name != **name));
    ensure!(unknown.is_none(), "there is no script {unknown:?}");
    let versions: Vec<Version> = Version::ALL
        .into_iter()
        .filter(|version| arguments.mqtt.as_deref().is_none_or(|name| name == version.name()))
        .collect();
    ensure!(!versions.is_empty(), "--mqtt is 3.1.1 or 5.0");
    let mut drivers = Vec::new();
    for client in Client::ALL {
        if arguments.client.is_empty() || arguments.client.contains(&client) {
            drivers.push((client, Driver::start(client).await?));
        }
    }
    let mut runs = Vec::new();
    // Script by script, so that the slow ones of all clients begin early.
    for script in SCRIPTS
        .iter()
        .chain(&DEVICES)
        .filter(|script| is_chosen(&arguments.script, script.name))
    {
        let of_device = DEVICES.iter().any(|device| device.name == script.name);
        for (client, driver) in &drivers {
            // The other end of a device is the client that needs no process.
            if of_device && *client != Client::Rumqttc {
                continue;
            }
            for &version in &versions {
                runs.push(Run {
                    script,
                    client: *client,
                    version,
                    driver,
                });
            }
        }
    }
    let began = Instant::now();
    let broker = Broker::freshet(&freshet_program(arguments)?).await?;
    let (mut passed, mut failed, mut left) = (0, 0, 0);
    run_all(runs, broker.address, |ended| {
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
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_chosen(chosen: &[String], name: &str) -> bool {
    chosen.is_empty() || chosen.iter().any(|chosen| chosen == name)
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
