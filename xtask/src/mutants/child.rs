//! Runs test programs beside one another, with bounds on what a mutant can use up.

use std::{future::Future, path::Path, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{process::Command, sync::Semaphore, task::JoinSet};

use crate::steps::Invocation;

/// Address space of a test program, in KiB: what an endless loop fills is given back before others miss it.
const MEMORY_KIB: u64 = 4 << 20;
/// How long a program may wait for a processor, besides many times what it may use of one.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How a test program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Passed,
    /// A test failed, or took all that it was given.
    Failed,
}

/// Runs tests of a program, for at most so much time of a processor.
///
/// # Errors
/// When it cannot be started.
pub(super) async fn run(
    program: &Path,
    args: &[&str],
    env: &[(&str, String)],
    dir: &Path,
    cpu: Duration,
) -> Result<Ended> {
    let script = format!(
        "ulimit -c 0; ulimit -t {}; ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"",
        cpu.as_secs().saturating_add(1)
    );
    let mut invocation = Invocation::new("sh")
        .args(["-c", &script])
        .args([program])
        .args(args)
        .dir(dir);
    for (name, value) in env {
        invocation = invocation.env(name, value);
    }
    // That a test fails is enough: nobody reads the smallest case, which takes most of the time of such a mutant.
    invocation = invocation
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        // What survives once survives again.
        .env("PROPTEST_RNG_SEED", "1");
    let mut child = Command::from(invocation.to_command())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    // Others use the processors as well; one that waits for what does not come uses none.
    let patience = cpu.saturating_mul(40) + PATIENCE;
    let waited = tokio::time::timeout(patience, child.wait()).await;
    match waited {
        Ok(status) => Ok(if status?.success() {
            Ended::Passed
        } else {
            Ended::Failed
        }),
        Err(_) => {
            child.kill().await?;
            Ok(Ended::Failed)
        }
    }
}

/// Does something with each item, with as many at a time as there are processors, shows each result when it is there, and
/// returns all of them in order.
///
/// # Errors
/// The first one.
pub(super) async fn side_by_side<I, T, W>(
    items: Vec<I>,
    work: impl Fn(I) -> W,
    mut seen: impl FnMut(&T),
) -> Result<Vec<T>>
where
    T: Send + 'static,
    W: Future<Output = Result<T>> + Send + 'static,
{
    let width = std::thread::available_parallelism().map_or(1, usize::from);
    let free = Arc::new(Semaphore::new(width));
    let mut tasks = JoinSet::new();
    for (at, item) in items.into_iter().enumerate() {
        let work = work(item);
        let free = Arc::clone(&free);
        tasks.spawn(async move {
            let _permit = free.acquire().await?;
            anyhow::Ok((at, work.await?))
        });
    }
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        let (at, result) = result??;
        seen(&result);
        results.push((at, result));
    }
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
