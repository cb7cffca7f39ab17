//! Which cases run at the same time: two beside each other, mostly waiting for a Kubernetes; and alone those that change
//! what all share (the operator, the chart), that measure how soon something happens, or that bring thousands of clients.
//!
//! How many threads the test program has does not matter: nodes of the tests carry two clusters at once.

use anyhow::Result;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Cases at a time.
const PLACES: u32 = 2;

static TURNS: Semaphore = Semaphore::const_new(PLACES as usize);

/// What a case holds while it runs.
pub(crate) type Turn = SemaphorePermit<'static>;

/// Waits until a case may run that leaves alone what others need.
pub(crate) async fn beside_others() -> Result<Turn> {
    Ok(TURNS.acquire().await?)
}

/// Waits until no other case runs, and keeps it so.
pub(crate) async fn alone() -> Result<Turn> {
    Ok(TURNS.acquire_many(PLACES).await?)
}
