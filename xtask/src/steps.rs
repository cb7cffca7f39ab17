//! Runs the child processes that a long verb (`test`, `verify`, `soak`) is made of.
//!
//! A child gets no input, a process group of its own and a deadline. Its output passes through while its test results
//! are counted. When the deadline passes or the person at the terminal interrupts, the whole group is told to stop,
//! given [`STOP_GRACE`] to tidy up, and then killed: a broker started by a test does not outlive the run.
//! Leaves out what is run: that is data of the callers.

mod invocation;
mod tally;

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    signal::unix::{Signal as Arrivals, SignalKind, signal},
};

pub(crate) use invocation::Invocation;
pub(crate) use tally::Tally;

/// How long a child that was told to stop may take before its group is killed.
const STOP_GRACE: Duration = Duration::from_secs(45);
/// Longest time for which output is still read once the child itself is gone: a daemon that it left behind may hold
/// the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Exit status 0.
    Passed,
    /// Any other exit status, or a signal.
    Failed(ExitStatus),
    /// Still running at its deadline, in seconds.
    TimedOut(u64),
    /// The run was told to stop.
    Interrupted,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(status) => write!(f, "{status}"),
            Self::TimedOut(seconds) => write!(f, "still running after {seconds} s"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// What one child did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ending: Ending,
    pub(crate) tally: Tally,
}

/// What a child printed.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) ending: Ending,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// SIGINT, SIGTERM and SIGHUP, as one thing to wait for. Once it has arrived it stays arrived.
pub(crate) struct Interrupt {
    arrivals: [Arrivals; 3],
    arrived: bool,
}

impl Interrupt {
    /// Starts to listen; from here on the signals no longer end this process by themselves.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("installing a signal handler");
        Ok(Self {
            arrivals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
            arrived: false,
        })
    }

    /// Whether the run was told to stop.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived
    }

    /// Forgets the interrupt, so that steps that tidy up can run to their end; a second one interrupts them too.
    pub(crate) fn clear(&mut self) {
        self.arrived = false;
    }

    /// Puts back an interrupt that was cleared.
    pub(crate) fn set(&mut self) {
        self.arrived = true;
    }

    /// Returns when the run is told to stop.
    pub(crate) async fn wait(&mut self) {
        if self.arrived {
            return;
        }
        let [interrupt, terminate, hangup] = &mut self.arrivals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        self.arrived = true;
    }
}

/// Runs a child whose output passes through, and counts the test results in it.
///
/// # Errors
/// When the program cannot be started or its output cannot be read; that it fails is an [`Ending`].
pub(crate) async fn run(invocation: &Invocation, timeout: Duration, interrupt: &mut Interrupt) -> Result<Outcome> {
    let mut child = spawn(invocation, Stdio::inherit())?;
    let stdout = child.stdout.take().context("the child has no standard output")?;
    let printer = tokio::spawn(pass_through(stdout));
    let ending = wait(&mut child, timeout, interrupt).await?;
    let abort = printer.abort_handle();
    let tally = match tokio::time::timeout(OUTPUT_GRACE, printer).await {
        Ok(joined) => joined.context("reading the output")??,
        Err(_) => {
            abort.abort();
            anyhow::bail!("`{invocation}` ended but left a process behind that holds its output");
        }
    };
    Ok(Outcome { ending, tally })
}

/// Runs a child and keeps what it prints.
///
/// # Errors
/// When the program cannot be started or prints something else than UTF-8; that it fails is an [`Ending`].
pub(crate) async fn capture(invocation: &Invocation, timeout: Duration, interrupt: &mut Interrupt) -> Result<Captured> {
    let mut child = spawn(invocation, Stdio::piped())?;
    let stdout = tokio::spawn(read_all(
        child.stdout.take().context("the child has no standard output")?,
    ));
    let stderr = tokio::spawn(read_all(
        child.stderr.take().context("the child has no standard error")?,
    ));
    let ending = wait(&mut child, timeout, interrupt).await?;
    Ok(Captured {
        ending,
        stdout: stdout.await??,
        stderr: stderr.await??,
    })
}

/// Runs a child and returns what it prints, for commands whose failure leaves nothing to go on with.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the error carries what it said.
pub(crate) async fn output_of(invocation: &Invocation, timeout: Duration, interrupt: &mut Interrupt) -> Result<String> {
    let captured = capture(invocation, timeout, interrupt).await?;
    anyhow::ensure!(
        captured.ending == Ending::Passed,
        "`{invocation}`: {}\n{}",
        captured.ending,
        captured.stderr.trim_end()
    );
    Ok(captured.stdout)
}

fn spawn(invocation: &Invocation, stderr: Stdio) -> Result<Child> {
    Command::from(invocation.to_command())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting `{invocation}`"))
}

async fn wait(child: &mut Child, timeout: Duration, interrupt: &mut Interrupt) -> Result<Ending> {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let ending = tokio::select! {
        status = child.wait() => {
            let status = status.context("waiting for the child")?;
            return Ok(if status.success() { Ending::Passed } else { Ending::Failed(status) });
        }
        () = tokio::time::sleep(timeout) => Ending::TimedOut(timeout.as_secs()),
        () = interrupt.wait() => Ending::Interrupted,
    };
    let Some(group) = group else {
        return Ok(ending);
    };
    // The group may be gone already: then there is nobody left to tell.
    let _ = kill_process_group(group, Signal::TERM);
    if tokio::time::timeout(STOP_GRACE, child.wait()).await.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
        child.wait().await.context("waiting for the killed child")?;
    }
    // What the leader started and did not wait for goes with it.
    let _ = kill_process_group(group, Signal::KILL);
    Ok(ending)
}

async fn pass_through(stdout: impl AsyncRead + Unpin) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        tally.read_line(text.trim_end());
        line.clear();
    }
    Ok(tally)
}

async fn read_all(mut stream: impl AsyncRead + Unpin) -> Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Invocation {
        Invocation::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn a_child_that_fails_is_an_ending_and_not_an_error() {
        let mut interrupt = Interrupt::listen().unwrap();
        let outcome = run(&shell("exit 3"), SOON, &mut interrupt).await.unwrap();
        assert!(matches!(outcome.ending, Ending::Failed(status) if status.code() == Some(3)));
    }

    #[tokio::test]
    async fn results_in_the_output_are_counted() {
        let mut interrupt = Interrupt::listen().unwrap();
        let script = "echo 'test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'";
        let outcome = run(&shell(script), SOON, &mut interrupt).await.unwrap();
        assert_eq!((outcome.tally.passed, outcome.tally.ignored), (4, 1));
    }

    #[tokio::test]
    async fn a_deadline_ends_the_whole_group() {
        let mut interrupt = Interrupt::listen().unwrap();
        let started = Instant::now();
        let script = "sleep 1000 & echo $!; wait";
        let captured = capture(&shell(script), Duration::from_millis(300), &mut interrupt)
            .await
            .unwrap();
        assert_eq!(captured.ending, Ending::TimedOut(0));
        assert!(started.elapsed() < SOON, "the grandchild was waited for");
        let grandchild = Pid::from_raw(captured.stdout.trim().parse().unwrap()).unwrap();
        let deadline = Instant::now() + SOON;
        while is_running(grandchild) {
            assert!(Instant::now() < deadline, "process {grandchild:?} outlived the run");
            tokio::task::yield_now().await;
        }
    }

    /// A killed process that nobody has waited for yet is a zombie, which runs no more.
    fn is_running(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn what_a_failing_command_said_is_in_the_error() {
        let mut interrupt = Interrupt::listen().unwrap();
        let error = output_of(&shell("echo reason >&2; exit 1"), SOON, &mut interrupt)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("reason"), "{error}");
    }
}
