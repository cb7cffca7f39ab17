//! Instructions that the pure cores need for a message: `xtask bench --instructions`, and a check of `xtask verify`.
//!
//! A piece of work is done few times and many times under Valgrind; the difference is what one costs, whatever else the
//! machine does meanwhile. What is checked in holds for one architecture, C library and compiler. Leaves out system calls.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    paths,
    steps::{Ending, Interrupt, Invocation, capture, output_of},
    tools::valgrind::Valgrind,
};

/// Where the figures are, from the root.
pub(crate) const FIGURES: &str = "bench/instructions/figures.txt";
/// How to take over what is measured.
pub(crate) const WRITE_COMMAND: &str = "cargo run --release --bin xtask -- bench --instructions --write";

const PROGRAM: &str = "freshet-bench-instructions";
/// Compiles every dependency when the cache is cold.
const BUILD_TIMEOUT: Duration = Duration::from_secs(40 * 60);
const RUN_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Times that a piece of work is done in the first run, and in the second.
const COUNTS: (u64, u64) = (2_000, 6_000);

/// What pieces of work cost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Architecture, C library and compiler.
    pub(crate) made_with: String,
    /// Names of pieces of work, each with its instructions.
    pub(crate) of: Vec<(String, u64)>,
}

impl Figures {
    /// Reads what is checked in.
    ///
    /// # Errors
    /// Line and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut made_with = String::new();
        let mut of = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(with) = line.strip_prefix("# with: ") {
                with.clone_into(&mut made_with);
            } else if !line.starts_with('#') {
                let (name, count) = line.split_once(' ').unwrap_or((line, ""));
                let count = count.trim().parse();
                let count = count.with_context(|| format!("{FIGURES}:{}: `NAME COUNT` is expected", index + 1))?;
                of.push((name.to_owned(), count));
            }
        }
        Ok(Self { made_with, of })
    }

    /// As it is checked in.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!(
            "# Instructions of the pure cores for one piece of work; what they are: bench/instructions/src/work.rs.\n\
             # Written by `{WRITE_COMMAND}`.\n# with: {}\n",
            self.made_with
        );
        for (name, count) in &self.of {
            text += &format!("{name} {count}\n");
        }
        text
    }
}

/// Where the figures are.
pub(crate) fn path() -> PathBuf {
    paths::repository_root().join(FIGURES)
}

/// Architecture, C library and compiler of this machine.
///
/// # Errors
/// When one of them does not say what it is.
pub(crate) async fn made_with(interrupt: &mut Interrupt) -> Result<String> {
    let library = output_of(
        &Invocation::new("getconf").args(["GNU_LIBC_VERSION"]),
        RUN_TIMEOUT,
        interrupt,
    )
    .await?;
    let compiler = Invocation::new("rustc")
        .args(["--version"])
        .dir(paths::repository_root());
    let compiler = output_of(&compiler, RUN_TIMEOUT, interrupt).await?;
    let compiler = compiler.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(format!("{}, {}, {compiler}", std::env::consts::ARCH, library.trim()))
}

/// Counts what each piece of work costs now.
///
/// # Errors
/// When the program cannot be built or a piece of work cannot be done.
pub(crate) async fn measure(interrupt: &mut Interrupt) -> Result<Figures> {
    let build = Invocation::cargo()
        .args(["build", "--release", "--locked", "--quiet", "--bin", PROGRAM])
        .dir(paths::repository_root());
    output_of(&build, BUILD_TIMEOUT, interrupt).await?;
    // Built into the same folder as this program.
    let program = std::env::current_exe()?.with_file_name(PROGRAM);
    let valgrind = Valgrind::ensure(interrupt).await?;
    let names = output_of(&Invocation::new(&program), RUN_TIMEOUT, interrupt).await?;
    let mut of = Vec::new();
    for name in names.lines() {
        let count = |times: u64| {
            valgrind
                .invocation()
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .args([program.as_os_str()])
                .args([name.to_owned(), format!("--count={times}")])
        };
        let few = instructions(&count(COUNTS.0), interrupt).await?;
        let many = instructions(&count(COUNTS.1), interrupt).await?;
        let of_one = many.saturating_sub(few) / (COUNTS.1 - COUNTS.0);
        of.push((name.to_owned(), of_one));
    }
    let made_with = made_with(interrupt).await?;
    Ok(Figures { made_with, of })
}

/// Prints what pieces of work cost, beside what is checked in; `write`: checks it in.
///
/// # Errors
/// As [`measure`], and when the file cannot be read or written.
pub(crate) async fn show(write: bool, interrupt: &mut Interrupt) -> Result<()> {
    let now = measure(interrupt).await?;
    let before = match fs::read_to_string(path()) {
        Ok(text) => Figures::parse(&text)?.of,
        Err(_) => Vec::new(),
    };
    println!("| work | instructions | checked in |\n| --- | --- | --- |");
    for (name, count) in &now.of {
        let known = before.iter().find(|(known, _)| known == name);
        let known = known.map_or_else(|| "-".to_owned(), |(_, count)| count.to_string());
        println!("| {name} | {count} | {known} |");
    }
    if write {
        fs::write(path(), now.to_text()).with_context(|| format!("writing {FIGURES}"))?;
    }
    Ok(())
}

async fn instructions(run: &Invocation, interrupt: &mut Interrupt) -> Result<u64> {
    let captured = capture(run, RUN_TIMEOUT, interrupt).await?;
    ensure!(
        captured.ending == Ending::Passed,
        "`{run}`: {}\n{}",
        captured.ending,
        captured.stderr.trim_end()
    );
    let collected = captured.stderr.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.with_context(|| format!("`{run}` says no count:\n{}", captured.stderr))?;
    count.trim().parse().with_context(|| format!("`{run}` counted {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_are_written() {
        let figures = Figures {
            made_with: "x, glibc 1".to_owned(),
            of: vec![("qos0".to_owned(), 17), ("fan-out".to_owned(), 4)],
        };
        assert_eq!(Figures::parse(&figures.to_text()).unwrap(), figures);
        assert!(Figures::parse("qos0").unwrap_err().to_string().contains(":1:"));
    }
}
