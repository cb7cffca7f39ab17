//! How many proxies a cluster needs: samples, settings and `now` in, a decision and its reason out.
//!
//! [`Scaler`] is the whole of it; the operator feeds it with what it scrapes, and [`backtest`] with a trace, so that what
//! is tried on recorded load is what runs. No clock, no randomness and no I/O: `now` is an argument, and [`trace`] makes
//! its load from a seed. What a decision does to pods is left to the operator.
//!
//! | part | file |
//! | --- | --- |
//! | what is measured | `signal.rs`, `sample.rs` |
//! | what the load of now needs | `recent.rs`, `reactive.rs`, `capacity.rs` |
//! | what the next minutes need | `forecast.rs`, `forecast/` |
//! | what was asked for at certain times | `schedule.rs` |
//! | how fast and when a count may change | `bounds.rs`, `scaler.rs` |
//! | how many are to wait | `pool.rs` |
//! | what people are shown of it | `decision.rs`, `view.rs` |
//! | replaying a trace, and making one | `backtest.rs`, `trace.rs` |

pub mod backtest;
mod bounds;
mod capacity;
mod decision;
mod exact;
mod forecast;
mod number;
mod pool;
mod reactive;
mod recent;
mod sample;
mod scaler;
mod schedule;
mod settings;
mod signal;
pub mod trace;
mod view;

pub use decision::{Decision, Held, Reason};
pub use forecast::{Ahead, Forecast, Method as ForecastMethod, Peak};
pub use pool::{Pool, PoolDecision, PoolHeld, PoolReason};
pub use reactive::Demand;
pub use sample::Sample;
pub use scaler::{Scaler, StateError};
pub use schedule::{Occurrence, ScheduleError, Scheduled};
pub use settings::{Behavior, Predict, Settings, Windows};
pub use signal::{PerSignal, Signal};
pub use view::{SignalView, View};
