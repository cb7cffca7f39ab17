//! Servers that stay when the program that started them ends: started, found again by a later run, ended.
//!
//! A server is known by its process id *and* the moment at which it started, so that an id which the kernel has given
//! to somebody else since is never taken for it.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::instance::{Instance, boot_id, write_atomically};
use super::network;
use super::packages::find_program;
use crate::command::tail;

/// How long a server may take to end by itself.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a process that was killed.
const KILL_GRACE: Duration = Duration::from_secs(10);
/// How many lines of its log an error about a server repeats.
const LOG_TAIL_LINES: usize = 15;

/// A server as it should run.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name among the instance's servers: of its log, and of what is written down about it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// What it is told.
    pub arguments: Vec<String>,
    /// Files that it reads when it starts: it is started anew when their content has changed.
    pub config_files: Vec<PathBuf>,
    /// The network namespace that it lives in.
    pub network_namespace: String,
    /// The mount namespace that it lives in; `None` for the machine's.
    pub mount_namespace: Option<PathBuf>,
}

/// What is written down about a server that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pid: u32,
    /// When it started, in the kernel's ticks since the boot.
    start_ticks: u64,
    boot_id: String,
    /// Hash of what it was told.
    fingerprint: String,
}

impl Server {
    /// Starts the server unless it runs as it should; one that was told something else is ended first.
    ///
    /// Returns whether it was started now.
    ///
    /// # Errors
    /// When it cannot be started, or an earlier one cannot be ended.
    pub async fn ensure_running(&self, instance: &Instance) -> anyhow::Result<bool> {
        let fingerprint = self.fingerprint()?;
        let record = record_path(instance, &self.name)?;
        if let Some(started) = read_record(&record)
            && started.is_running()
        {
            if started.fingerprint == fingerprint {
                return Ok(false);
            }
            started.stop(&self.name).await?;
        }
        let pid = self.spawn(instance)?;
        let start_ticks = start_ticks(pid).with_context(|| format!("{} ended at once", self.name))?;
        let started = Started {
            pid,
            start_ticks,
            boot_id: boot_id()?,
            fingerprint,
        };
        write_atomically(&record, &serde_json::to_vec(&started)?)?;
        Ok(true)
    }

    /// Returns an error with the end of its log when the server is not running.
    ///
    /// # Errors
    /// Then.
    pub fn require_running(&self, instance: &Instance) -> anyhow::Result<()> {
        let record = record_path(instance, &self.name)?;
        if read_record(&record).is_some_and(|started| started.is_running()) {
            return Ok(());
        }
        let log = log_path(instance, &self.name)?;
        let said = std::fs::read(&log).unwrap_or_default();
        let said = tail(&String::from_utf8_lossy(&said), LOG_TAIL_LINES);
        anyhow::bail!("{} has ended; the end of {}:\n{said}", self.name, log.display());
    }

    fn spawn(&self, instance: &Instance) -> anyhow::Result<u32> {
        let log = log_path(instance, &self.name)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        // Each of these becomes the next without a fork, so that the id is the server's. `setsid`: what is typed at
        // the terminal, and the end of it, is not for servers that stay.
        let mut command = Command::new(find_program("setsid")?);
        command.arg(find_program("nsenter")?);
        let network_namespace = network::namespace_path(&self.network_namespace);
        command.arg(format!("--net={}", network_namespace.display()));
        if let Some(mounts) = &self.mount_namespace {
            command.arg(format!("--mount={}", mounts.display()));
        }
        command.arg("--").arg(&self.program).args(&self.arguments);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .current_dir(instance.state())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        child.id().with_context(|| format!("{} ended at once", self.name))
    }

    /// Hashes everything that would make a server that runs another one.
    fn fingerprint(&self) -> anyhow::Result<String> {
        let mut hash = Sha256::new();
        let words = [self.program.display().to_string(), self.network_namespace.clone()];
        for word in words.iter().chain(&self.arguments) {
            hash.update(word);
            hash.update([0]);
        }
        for path in &self.config_files {
            hash.update(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(crate::oci::hex(&hash.finalize()))
    }
}

impl Started {
    /// Tells whether the process is there, and is the one that was started.
    #[must_use]
    pub fn is_running(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id) && start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Ends the server: asks it, and kills it when it takes too long.
    ///
    /// # Errors
    /// When it is still there afterwards.
    pub async fn stop(&self, name: &str) -> anyhow::Result<()> {
        end(self.pid, Some(self.start_ticks), STOP_GRACE)
            .await
            .with_context(|| format!("cannot end {name}"))
    }

    /// Stops the server where it is.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> anyhow::Result<Frozen> {
        anyhow::ensure!(self.is_running(), "it has ended");
        freeze(self.pid)
    }

    /// Ends the server at once, as a crash would.
    ///
    /// # Errors
    /// When it is still there afterwards.
    pub async fn kill(&self, name: &str) -> anyhow::Result<()> {
        end(self.pid, Some(self.start_ticks), Duration::ZERO)
            .await
            .with_context(|| format!("cannot kill {name}"))
    }
}

/// Returns what was written down about the instance's servers, by name.
#[must_use]
pub fn started(instance: &Instance) -> Vec<(String, Started)> {
    let Ok(entries) = std::fs::read_dir(instance.state().join("run")) else {
        return Vec::new();
    };
    let read = |path: &Path| Some((path.file_stem()?.to_str()?.to_owned(), read_record(path)?));
    let mut found: Vec<_> = entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// A process that does nothing, as if its machine had died, until this is dropped.
#[derive(Debug)]
pub struct Frozen(OwnedFd);

impl Drop for Frozen {
    fn drop(&mut self) {
        // It has ended: nothing is left to do.
        let _ = pidfd_send_signal(&self.0, Signal::CONT);
    }
}

/// Stops a process where it is.
///
/// # Errors
/// When it is not there.
pub fn freeze(pid: u32) -> anyhow::Result<Frozen> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = pidfd_open(raw.context("no process id")?, PidfdFlags::empty())?;
    pidfd_send_signal(&process, Signal::STOP)?;
    Ok(Frozen(process))
}

/// Ends a process at once.
///
/// # Errors
/// When it is still there afterwards.
pub async fn kill(pid: u32) -> anyhow::Result<()> {
    end(pid, None, Duration::ZERO).await
}

/// Ends a process: `SIGTERM`, and `SIGKILL` after `grace`. One that is not there, or started at another moment than
/// `start`, counts as ended.
async fn end(pid: u32, start: Option<u64>, grace: Duration) -> anyhow::Result<()> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    // The descriptor names the process and not its id: what is looked at and what is killed are the same.
    let Ok(process) = pidfd_open(raw, PidfdFlags::empty()) else {
        return Ok(());
    };
    if start.is_some() && start_ticks(pid) != start {
        return Ok(());
    }
    tokio::task::spawn_blocking(move || {
        if !grace.is_zero() {
            let _ = pidfd_send_signal(&process, Signal::TERM);
            if has_ended(&process, grace)? {
                return Ok(());
            }
        }
        let _ = pidfd_send_signal(&process, Signal::KILL);
        anyhow::ensure!(
            has_ended(&process, KILL_GRACE)?,
            "process {pid} is still there after SIGKILL"
        );
        Ok(())
    })
    .await?
}

/// Waits until a process has ended; tells whether it has.
fn has_ended(process: &OwnedFd, within: Duration) -> anyhow::Result<bool> {
    let timeout = Timespec::try_from(within)?;
    let ready = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)))?;
    Ok(ready > 0)
}

/// When a process started, in ticks since the boot; `None` when it is not there, or has ended and waits to be reaped.
fn start_ticks(pid: u32) -> Option<u64> {
    parse_start_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads proc(5), `/proc/[pid]/stat`: the fields after the name, which may itself hold anything.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // Field 22; the state is field 3.
    (!matches!(state, "Z" | "X"))
        .then(|| fields.nth(18)?.parse().ok())
        .flatten()
}

fn record_path(instance: &Instance, name: &str) -> anyhow::Result<PathBuf> {
    Ok(instance.folder("run")?.join(format!("{name}.json")))
}

/// Where a server's output goes.
fn log_path(instance: &Instance, name: &str) -> anyhow::Result<PathBuf> {
    Ok(instance.folder("log")?.join(format!("{name}.log")))
}

fn read_record(path: &Path) -> Option<Started> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_hides_no_field() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 50";
        assert_eq!(parse_start_ticks(stat), Some(98765));
    }

    #[test]
    fn a_process_that_waits_to_be_reaped_is_not_running() {
        let stat = "12 (true) Z 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 50";
        assert_eq!(parse_start_ticks(stat), None);
    }

    #[tokio::test]
    async fn a_recycled_process_id_is_not_taken_for_the_server() {
        let mut other = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
        let pid = other.id().unwrap();
        let earlier = start_ticks(pid).unwrap() - 1;
        let started = Started {
            pid,
            start_ticks: earlier,
            boot_id: boot_id().unwrap(),
            fingerprint: String::new(),
        };
        assert!(!started.is_running());
        started.stop("other").await.unwrap();
        assert!(other.try_wait().unwrap().is_none(), "somebody else's process was ended");
        other.kill().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_does_not_listen_to_the_request_is_killed() {
        let mut deaf = Command::new("sh");
        deaf.args(["-c", "trap '' TERM; echo ready; while :; do sleep 600; done"])
            .stdout(Stdio::piped());
        let mut deaf = deaf.kill_on_drop(true).process_group(0).spawn().unwrap();
        let mut ready = [0; 6];
        tokio::io::AsyncReadExt::read_exact(deaf.stdout.as_mut().unwrap(), &mut ready)
            .await
            .unwrap();
        let pid = deaf.id().unwrap();
        end(pid, start_ticks(pid), Duration::from_millis(50)).await.unwrap();
        assert!(!deaf.wait().await.unwrap().success());
        let _ = rustix::process::kill_process_group(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
    }
}
