//! Runs other programs to their end, and turns a failure into an error that says what was run and what it said.
//!
//! Programs that stay are started by [`crate::node::process`].

use std::ffi::OsString;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How much of a failed program's output its error repeats.
const ERROR_TAIL_LINES: usize = 20;

/// Runs a program without input and returns its standard output.
///
/// # Errors
/// When the program cannot be started or does not end with 0: with its arguments and the end of what it said.
pub async fn run(command: &mut Command) -> anyhow::Result<String> {
    run_with_input(command, &[]).await
}

/// Runs a program that reads `input`, and returns its standard output.
///
/// The program is killed when the returned future is dropped.
///
/// # Errors
/// As [`run`].
pub async fn run_with_input(command: &mut Command, input: &[u8]) -> anyhow::Result<String> {
    let shown = display(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.stdin(if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    });
    let mut child = command.spawn().with_context(|| format!("cannot start: {shown}"))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program may end without reading all: its status then says more than the broken pipe.
            let _ = stdin.write_all(input).await;
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output.with_context(|| format!("no end of: {shown}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        bail!("{shown}: {}\n{}", output.status, tail(&said, ERROR_TAIL_LINES));
    }
    Ok(stdout)
}

/// Names of the variables that cargo gave this process about its package (The Cargo Book, "Environment variables").
///
/// A cargo that this process starts must not inherit them: build scripts of dependencies look at some, run again when
/// they change, and with them everything above is compiled again, now and in the next build without them.
pub fn variables_of_cargo() -> impl Iterator<Item = OsString> {
    std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_str().is_some_and(is_set_by_cargo))
}

fn is_set_by_cargo(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    const NAMES: [&str; 3] = ["CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Writes a command as a shell would take it, near enough to repeat it.
#[must_use]
pub fn display(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Returns the last `lines` lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_names_the_command_and_repeats_what_it_said() {
        let error = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sh -c") && error.contains("out") && error.contains("err"),
            "{error}"
        );
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn input_reaches_the_program() {
        assert_eq!(
            run_with_input(&mut Command::new("cat"), b"hello").await.unwrap(),
            "hello"
        );
    }

    #[test]
    fn the_tail_of_a_short_text_is_the_text() {
        assert_eq!(tail("a\nb", 5), "a\nb");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
    }
}
