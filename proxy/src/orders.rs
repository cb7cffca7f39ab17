//! Orders to give clients away (`freshet_config::MoveOrder`): read from a file that the kubelet keeps, divided among the
//! workers, which carry them out.
//!
//! The file is an annotation of the pod; it is empty while there is none. One that cannot be read moves nobody. Leaves out
//! what becomes of an order when the process is told to end (`crate::drain`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use freshet_config::{MoveOrder, MoveReason, REFERENCES_MAX};
use freshet_proxy_core::worker::{MoveKind, MovePace};
use freshet_storage_contract::MonotonicMs;
use tokio::sync::watch;

use crate::control::Control;
use crate::proxy::Proxy;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// A text that is longer is no order.
const LONGEST_BYTES: usize = 4_096;

/// The order that is in force, if there is one.
pub(crate) type CurrentOrder = watch::Receiver<Option<Arc<MoveOrder>>>;

/// Reads the file again and again, for as long as somebody wants to know.
pub(crate) async fn watch_order(path: PathBuf, current: watch::Sender<Option<Arc<MoveOrder>>>) {
    let mut last = None;
    while !current.is_closed() {
        // A file that is missing for a moment is being exchanged.
        if let Some(text) = read(&path).filter(|text| last.as_ref() != Some(text)) {
            let order = match order_of(&text) {
                Ok(order) => order,
                Err(error) => {
                    tracing::error!(%error, "an order to give clients away cannot be read: nobody is moved");
                    None
                }
            };
            current.send_if_modified(|known| {
                let has_changed = known.as_deref() != order.as_ref();
                *known = order.map(Arc::new);
                has_changed
            });
            last = Some(text);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // A few hundred bytes from memory: the kubelet projects into a tmpfs.
    std::fs::read(path).ok()
}

fn order_of(text: &[u8]) -> Result<Option<MoveOrder>, String> {
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    if text.len() > LONGEST_BYTES {
        return Err(format!("it has {} bytes", text.len()));
    }
    let mut order: MoveOrder = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    order.server_references.truncate(REFERENCES_MAX);
    Ok(Some(order))
}

/// The present as orders tell time: milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Proxy {
    /// Has the workers carry out the order that is in force now, or give nobody away.
    pub(crate) async fn take_order(&mut self) {
        let order = self.order.borrow_and_update().clone();
        let Some(order) = order else {
            tracing::info!("nobody is given away any more");
            for worker in self.workers.iter() {
                worker.tell(Control::EndMoves).await;
            }
            return;
        };
        // Counted at the door: one that is too busy to answer would be taken for one without clients, and keep none.
        let clients: Vec<u64> = self.workers.iter().map(|worker| u64::from(worker.open())).collect();
        let all: u64 = clients.iter().sum();
        tracing::info!(
            reason = ?order.reason,
            clients = all,
            keep = order.keep.min(all),
            clients_per_second = order.clients_per_second,
            "clients are given away"
        );
        let paces = paces(&order, &clients, unix_ms(), self.clock.now());
        for (worker, pace) in self.workers.iter().zip(paces) {
            worker.tell(Control::Move(Box::new(pace))).await;
        }
    }
}

/// Each worker's part of an order, by the clients that it has; of clients that come later it keeps an equal part of what the
/// order keeps beyond that. `now_ms` is since the Unix epoch, `now` the same moment on the workers' clock.
fn paces(order: &MoveOrder, clients: &[u64], now_ms: u64, now: MonotonicMs) -> Vec<MovePace> {
    let all: u64 = clients.iter().sum();
    let keep = order.keep;
    let workers = clients.len().max(1) as u64;
    let share = |whole: u64, own: u64| {
        let part = u128::from(whole) * u128::from(own) / u128::from(all.max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    // Of what all have, each keeps its share of `keep`, and of what is still to come an equal one.
    let kept = keep.min(all);
    let mut left = kept - clients.iter().map(|own| share(kept, *own)).sum::<u64>();
    let to_come = keep.saturating_sub(all).div_ceil(workers);
    let at = |ms: u64| now.plus(Duration::from_millis(ms.saturating_sub(now_ms)));
    let references: Arc<[Box<str>]> = order.server_references.iter().map(|r| r.as_str().into()).collect();
    let rate = u64::from(order.clients_per_second);
    let pace_of = |own: &u64| {
        let mut own_keep = share(kept, *own);
        if left > 0 && own_keep < *own {
            left -= 1;
            own_keep += 1;
        }
        let own_rate = if all == 0 {
            rate.div_ceil(workers)
        } else {
            // Rounded up: one that has clients is never left without.
            u64::try_from((u128::from(rate) * u128::from(*own)).div_ceil(u128::from(all))).unwrap_or(u64::MAX)
        };
        MovePace {
            kind: match order.reason {
                MoveReason::Drain => MoveKind::Drain,
                MoveReason::Rebalance => MoveKind::Rebalance,
            },
            keep: own_keep.saturating_add(to_come),
            moves_per_second: u32::try_from(own_rate).unwrap_or(u32::MAX),
            from: at(order.from_ms),
            until: at(order.until_ms),
            server_references: Arc::clone(&references),
        }
    };
    clients.iter().map(pace_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(keep: u64, clients_per_second: u32) -> MoveOrder {
        MoveOrder {
            keep,
            clients_per_second,
            from_ms: 1_000_500,
            until_ms: 1_060_000,
            ..MoveOrder::default()
        }
    }

    #[test]
    fn each_worker_has_its_part_and_together_they_keep_what_the_order_says() {
        for clients in [vec![700, 300, 1], vec![1, 1, 1], vec![0, 0, 5], vec![10]] {
            let all: u64 = clients.iter().sum();
            for keep in 0..=all + 1 {
                let paces = paces(&order(keep, 10), &clients, 1_000_000, MonotonicMs(50));
                let kept = |own: &dyn Fn(u64) -> u64| -> u64 {
                    paces
                        .iter()
                        .zip(&clients)
                        .map(|(pace, has)| pace.keep.min(own(*has)))
                        .sum()
                };
                assert_eq!(kept(&|has| has), keep.min(all), "{clients:?}");
                assert!(kept(&|_| u64::MAX / 4) >= keep, "{clients:?}");
            }
        }
    }

    #[test]
    fn what_an_order_keeps_is_kept_of_clients_that_come_behind_it() {
        let keep_of = |keep, clients: &[u64]| -> Vec<u64> {
            let paces = paces(&order(keep, 10), clients, 1_000_000, MonotonicMs(50));
            paces.iter().map(|pace| pace.keep).collect()
        };
        assert_eq!(keep_of(500, &[0]), [500]);
        assert_eq!(keep_of(500, &[100, 300]), [150, 350]);
        assert_eq!(keep_of(u64::MAX, &[5, 0]), [u64::MAX / 2 + 3, u64::MAX / 2 - 2]);
        assert_eq!(keep_of(0, &[5, 0]), [0, 0]);
    }

    #[test]
    fn times_are_told_on_the_workers_clock_and_a_pause_stays_one() {
        let paces = paces(&order(0, 0), &[5, 5], 1_000_000, MonotonicMs(50));
        assert_eq!((paces[0].from, paces[0].until), (MonotonicMs(550), MonotonicMs(60_050)));
        assert_eq!(paces[0].moves_per_second, 0);
    }

    #[tokio::test]
    async fn an_order_comes_changes_and_goes_with_the_file() {
        let path = std::env::temp_dir().join(format!("freshet-orders-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let (sender, mut current) = watch::channel(None);
        let watching = tokio::spawn(watch_order(path.clone(), sender));
        std::fs::write(&path, r#"{"keep": 7}"#).unwrap();
        current.changed().await.unwrap();
        assert_eq!(current.borrow_and_update().as_ref().map(|order| order.keep), Some(7));
        // What is no order moves nobody.
        std::fs::write(&path, r#"{"keep": "all"}"#).unwrap();
        current.changed().await.unwrap();
        assert_eq!(*current.borrow_and_update(), None);
        std::fs::remove_file(&path).unwrap();
        drop(current);
        watching.await.unwrap();
    }
}
