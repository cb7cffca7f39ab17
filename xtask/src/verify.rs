//! `xtask verify`: the checks that need no running broker. Changes nothing in the checkout.
//!
//! Called by `make verify` and as the first part of `make test`. Every check runs, also after one has failed, so that
//! one run shows all there is to mend. Leaves out the tests themselves.

mod alerts;
mod chart;
mod commands;
mod generated;
mod heads;
mod instructions;
mod leftovers;
mod links;
mod makefile;
mod metrics;
mod products;
mod purity;
mod source_tree;
mod statements;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use freshet_e2e::progress::display;
pub(crate) use source_tree::SourceTree;

use crate::steps::Interrupt;

/// Arguments of `xtask verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Runs these checks instead of all.
    #[arg(long, value_enum)]
    only: Vec<Check>,
}

/// One check; they run in this order, the quick ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// `cargo fmt --check`.
    Format,
    /// Every source file begins with what it is, and is short enough to be read.
    Heads,
    /// Nothing that was meant to be done later.
    Leftovers,
    /// Links between documents lead somewhere.
    Links,
    /// The documented metrics are those that there are.
    Metrics,
    /// Each normative statement of MQTT has a test, or a reason why not.
    Statements,
    /// One line for each verb, and that line calls cargo.
    Makefile,
    /// Cores have no runtime, I/O, clock or randomness.
    Purity,
    /// What tests build into programs is in no product.
    Products,
    /// Cargo.lock is what the manifests ask for.
    Lock,
    /// What is generated is what would be generated now.
    Generated,
    /// The chart lints, renders what is checked in, and refuses bad values.
    Chart,
    /// Alerts fire when they should and have a page; they and the dashboard ask for metrics that there are.
    Alerts,
    /// Licences, bans and sources of dependencies.
    Deny,
    /// Known vulnerabilities of dependencies.
    Advisories,
    /// No dependency that nothing uses.
    Machete,
    /// Lints of every crate and test.
    Clippy,
    /// Documentation comments whose links lead somewhere.
    Rustdoc,
    /// A message costs the cores no more instructions than is checked in.
    Instructions,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be; says how much was looked at.
    Clean(String),
    /// Could not be looked at here; says why.
    Skipped(String),
    /// One line for each thing to mend.
    Findings(Vec<String>),
}

impl Verdict {
    /// Clean when there are no findings.
    fn of(findings: Vec<String>, clean: impl Into<String>) -> Self {
        if findings.is_empty() {
            Self::Clean(clean.into())
        } else {
            Self::Findings(findings)
        }
    }
}

/// Runs the checks and prints a line for each.
///
/// # Errors
/// When a check could not be run at all.
pub(crate) async fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let tree = SourceTree::read(&mut interrupt).await?;
    let chosen = if args.only.is_empty() {
        Check::value_variants()
    } else {
        &args.only
    };
    let mut passed = 0;
    let mut failed = Vec::new();
    for &check in chosen {
        let name = check
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned());
        let started = Instant::now();
        let verdict = run_check(check, &tree, &mut interrupt).await;
        if interrupt.has_arrived() {
            println!("interrupted during {name}");
            return Ok(ExitCode::FAILURE);
        }
        let took = display(started.elapsed());
        match verdict {
            Ok(Verdict::Clean(detail)) => {
                println!("ok       {name:<12} {took:>12}  {detail}");
                passed += 1;
            }
            Ok(Verdict::Skipped(reason)) => println!("skipped  {name:<12} {took:>12}  skipped: {reason}"),
            Ok(Verdict::Findings(findings)) => {
                println!("FAILED   {name:<12} {took:>12}  {} to mend:", findings.len());
                for finding in findings {
                    println!("    {finding}");
                }
                failed.push(name);
            }
            Err(error) => {
                println!("FAILED   {name:<12} {took:>12}  {error:#}");
                failed.push(name);
            }
        }
    }
    // Read by `xtask test` and by whoever counts: each check is a test.
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        failed.len()
    );
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("verify failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

async fn run_check(check: Check, tree: &SourceTree, interrupt: &mut Interrupt) -> Result<Verdict> {
    match check {
        Check::Format => commands::check_format(interrupt).await,
        Check::Heads => Ok(heads::check_heads(tree)),
        Check::Leftovers => Ok(leftovers::check_leftovers(tree)),
        Check::Links => Ok(links::check_links(tree)),
        Check::Metrics => Ok(metrics::check_metrics(tree)),
        Check::Statements => Ok(statements::check_statements(tree)),
        Check::Makefile => Ok(makefile::check_makefile(tree)),
        Check::Purity => purity::check_purity(tree, interrupt).await,
        Check::Products => products::check_products(interrupt).await,
        Check::Lock => commands::check_lock(interrupt).await,
        Check::Generated => generated::check_generated(tree, interrupt).await,
        Check::Chart => chart::check_chart(tree, interrupt).await,
        Check::Alerts => alerts::check_alerts(tree, interrupt).await,
        Check::Deny => commands::check_deny(interrupt).await,
        Check::Advisories => commands::check_advisories(interrupt).await,
        Check::Machete => commands::check_machete(interrupt).await,
        Check::Clippy => commands::check_clippy(interrupt).await,
        Check::Rustdoc => commands::check_rustdoc(interrupt).await,
        Check::Instructions => instructions::check_instructions(interrupt).await,
    }
}
