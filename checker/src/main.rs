//! `freshet-checker`: runs clients against a broker that is killed, and judges; judges a history that is there; or shows
//! that mistakes are found.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use freshet_checker::judge::{Thresholds, judge};
use freshet_checker::mistakes::{Ground, MISTAKES, Processes as Scene};
use freshet_checker::{DEFAULT_PATIENCE, Folders, History, KillReport, MistakeReport, Nemesis, Plan, Setup, run};

/// The history checker of Freshet.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
enum Command {
    /// Runs clients against a broker in processes of its own.
    Run(RunArgs),
    /// Runs clients against programs that make mistakes on purpose, until each mistake is found, and without one.
    Mistakes(MistakeArgs),
    /// Judges the history in a file.
    Judge {
        /// Lines of JSON.
        file: PathBuf,
    },
}

/// How it is run.
#[derive(Debug, Args)]
struct RunArgs {
    /// What clients do, and when the broker is killed. Default: drawn.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs one after the other, with seeds from the first on.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Seconds that clients live in a round at least.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Kills in a round; 0: nothing is done to the broker.
    #[arg(long, default_value_t = 0)]
    kills: usize,
    /// What the broker is.
    #[arg(long, value_enum, default_value_t = Processes::Standalone)]
    processes: Processes,
    /// Which of the processes are killed: `proxy` or `storage`. Default: all, in turn and together.
    #[arg(long, value_name = "PROCESS")]
    strike: Vec<String>,
    /// Everything in memory: what is acknowledged is lost with the process, and the run is refuted if it is killed.
    #[arg(long)]
    memory: bool,
    /// Fault points at which the broker ends by itself, each in its turn, then any; `all`: all that its programs name. They
    /// have to be built with the feature `planted-faults`. A run in which one is not reached does not pass.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    fault_points: Vec<String>,
    /// The mistake that programs with the feature `planted-faults` make.
    #[arg(long, value_name = "PART:NAME")]
    planted: Option<String>,
    /// The page that the result is written to, as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where the broker's programs are. Default: beside this one.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where data, logs and the history of a run that failed are left. Default: a folder of its own for temporary files,
    /// which goes when all has passed.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Which mistakes.
#[derive(Debug, Args)]
struct MistakeArgs {
    /// The first seed. Each mistake is to be found from each seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Only mistakes in whose name this is.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// The page that the result is written to, as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where the programs are, built with the feature `planted-faults`. Default: beside this one.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where data, logs and histories are left while it runs. Default: a folder of its own for temporary files.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// The broker's processes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Processes {
    /// `freshet standalone`.
    Standalone,
    /// A proxy and a storage node, killed in turn.
    Apart,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run_rounds(&arguments),
        Command::Mistakes(arguments) => find_mistakes(&arguments),
        Command::Judge { file } => judge_file(&file),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("freshet-checker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn judge_file(file: &Path) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let history = History::from_json_lines(&text).context("not a history")?;
    let verdict = judge(&history, &Thresholds::default());
    print(&verdict.to_string());
    Ok(verdict.is_proven())
}

fn run_rounds(arguments: &RunArgs) -> anyhow::Result<bool> {
    let first = arguments.seed.unwrap_or_else(drawn_seed);
    let root = folder(arguments.folder.as_deref());
    let mut report = KillReport::new(own_command());
    for round in 0..arguments.rounds {
        let plan = plan(
            arguments,
            first.wrapping_add(round),
            &root.join(format!("round-{round}")),
        )?;
        print(&format!(
            "round {} of {}: seed {}",
            round + 1,
            arguments.rounds,
            plan.seed
        ));
        let outcome = run(&plan, &mut print)?;
        print(&outcome.verdict.to_string());
        report.add(plan.seed, &outcome.verdict);
        write_report(arguments.report.as_deref(), &report)?;
        if !outcome.verdict.is_proven() {
            let file = plan.folders.scratch.join("history.jsonl");
            std::fs::write(&file, outcome.history.to_json_lines()?)?;
            print(&format!("seed {}: the history is {}", plan.seed, file.display()));
            return Ok(false);
        }
        std::fs::remove_dir_all(&plan.folders.scratch)?;
    }
    let _ = std::fs::remove_dir(&root);
    // As test programs say it: one result for each round.
    print(&format!(
        "test result: ok. {} passed; 0 failed; 0 ignored",
        arguments.rounds
    ));
    Ok(true)
}

/// Looks for each mistake from each seed; then runs as many rounds without one, which have to be proven.
fn find_mistakes(arguments: &MistakeArgs) -> anyhow::Result<bool> {
    let ground = Ground {
        programs: programs(arguments.programs.as_deref())?,
        folder: folder(arguments.folder.as_deref()),
    };
    let mut report = MistakeReport::new(own_command());
    let mut rounds: BTreeMap<(Scene, u64), u64> = BTreeMap::new();
    let (mut passed, mut failed) = (0, 0);
    let mut count = |name: &str, is_right: bool| {
        print(&format!("test {name} ... {}", if is_right { "ok" } else { "FAILED" }));
        *(if is_right { &mut passed } else { &mut failed }) += 1;
    };
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.seeds);
    for mistake in MISTAKES.iter().filter(|mistake| mistake.name.contains(&arguments.only)) {
        for seed in seeds.clone() {
            let hunt = ground.hunt(mistake, seed, &mut print)?;
            let most = rounds.entry((mistake.processes, seed)).or_default();
            *most = hunt.rounds.max(*most);
            count(&format!("{} from seed {seed}", mistake.name), hunt.is_right);
            report.hunted(mistake, seed, &hunt);
            write_report(arguments.report.as_deref(), &report)?;
        }
    }
    for ((processes, seed), rounds) in rounds {
        let hunt = ground.prove(processes, seed, rounds, &mut print)?;
        count(
            &format!("no mistake, {}, from seed {seed}", processes.name()),
            hunt.is_right,
        );
        report.without(processes, seed, &hunt);
        write_report(arguments.report.as_deref(), &report)?;
    }
    let _ = std::fs::remove_dir(&ground.folder);
    let result = if failed == 0 { "ok" } else { "FAILED" };
    print(&format!(
        "test result: {result}. {passed} passed; {failed} failed; 0 ignored"
    ));
    Ok(failed == 0)
}

/// The folder that was asked for, or one of its own for temporary files.
fn folder(asked: Option<&Path>) -> PathBuf {
    let own = || std::env::temp_dir().join(format!("freshet-checker-{}", std::process::id()));
    asked.map_or_else(own, Path::to_owned)
}

/// The folder that was asked for, or the one in which this program is.
fn programs(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let own = std::env::current_exe().context("the path of this program")?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

/// How this program was called, without what is of this machine alone.
fn own_command() -> String {
    let mut command = "freshet-checker".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if ["--programs", "--folder", "--report"].contains(&argument.as_str()) {
            arguments.next();
        } else {
            command.push(' ');
            command.push_str(&argument);
        }
    }
    command
}

fn write_report(file: Option<&Path>, report: &impl Display) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, report.to_string()).with_context(|| file.display().to_string())
}

fn plan(arguments: &RunArgs, seed: u64, folder: &Path) -> anyhow::Result<Plan> {
    let programs = programs(arguments.programs.as_deref())?;
    let setup = match arguments.processes {
        Processes::Standalone => Setup::Standalone {
            freshet: programs.join("freshet"),
        },
        Processes::Apart => Setup::Apart {
            proxy: programs.join("freshet-proxy"),
            storage: programs.join("freshet-storage-node"),
        },
    };
    let kills = arguments.kills;
    Ok(Plan {
        seed,
        setup,
        folders: Folders {
            scratch: folder.to_owned(),
            data: (!arguments.memory).then(|| folder.join("data")),
        },
        lasting: Duration::from_secs(arguments.seconds),
        nemesis: Nemesis {
            kills,
            parts: arguments.strike.clone(),
            fault_points: arguments.fault_points.clone(),
        },
        thresholds: Thresholds::of_run(usize::try_from(arguments.seconds)?, kills),
        planted: arguments.planted.clone(),
        patience: DEFAULT_PATIENCE,
    })
}

fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20)
}

/// Who closed standard output does not want to know.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
