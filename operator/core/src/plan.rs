//! What to do about the proxies and storage nodes that are there: a pure function from facts to the next actions.
//!
//! Called once per reconcile; each plan goes from whatever is found one step towards what is asked for, so that an
//! operator killed anywhere resumes. Leaves out how actions are carried out, and when to look again: every action changes
//! an object that is watched.

mod moves;
mod proxies;
mod storage;

#[cfg(test)]
pub(crate) use moves::NO_MOVES;
pub use moves::{Drain, DrainEnd, MoveSettings, MovesPlan, OrderWrite, Rebalanced, Teller};
pub use proxies::{
    ACTIVE_COST, DRAINED_COST, DRAINING_COST, FORMER_COST, ProxyAction, ProxyPlan, ProxyTarget, Reservation, Rooms,
    WARM_COST, find_warm, keep_serving, plan_proxies,
};
pub use storage::{StorageAction, StoragePlan, plan_storage};

#[cfg(test)]
mod simulation;
