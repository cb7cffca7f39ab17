//! `freshet-checker`: runs clients against a broker that is killed, and judges; or judges a history that is there.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use freshet_checker::judge::{Thresholds, judge};
use freshet_checker::{Folders, History, Nemesis, Plan, Setup, run};

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
    /// Fault points at which the broker ends by itself in half of the kills. It has to be built with the feature
    /// `fault-points`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    fault_points: Vec<String>,
    /// Where the broker's programs are. Default: beside this one.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where data, logs and the history of a run that failed are left. Default: a folder of its own for temporary files,
    /// which goes when all has passed.
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
    let folder = arguments.folder.clone();
    let root = folder.unwrap_or_else(|| std::env::temp_dir().join(format!("freshet-checker-{}", std::process::id())));
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

fn plan(arguments: &RunArgs, seed: u64, folder: &Path) -> anyhow::Result<Plan> {
    let programs = match &arguments.programs {
        Some(folder) => folder.clone(),
        None => {
            let own = std::env::current_exe().context("the path of this program")?;
            own.parent().map(Path::to_owned).unwrap_or_default()
        }
    };
    let setup = match arguments.processes {
        Processes::Standalone => Setup::Standalone {
            freshet: programs.join("freshet"),
        },
        Processes::Apart => Setup::Apart {
            proxy: programs.join("freshet-proxy"),
            storage: programs.join("freshet-storage-node"),
        },
    };
    // Each kill interrupts everybody; without any, clients still go and come as they like.
    let (seconds, kills) = (usize::try_from(arguments.seconds)?, arguments.kills);
    let thresholds = Thresholds {
        kills,
        takeovers: seconds / 2,
        resumes: seconds + 5 * kills,
        interrupted: (seconds + 2 * kills) / 4,
        due: 50 * seconds,
        retained: seconds,
    };
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
        thresholds,
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
