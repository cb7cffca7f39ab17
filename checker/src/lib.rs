//! The history checker: clients at work while their broker is killed, what they did and saw, and a judge that proves
//! or refutes what is promised.
//!
//! [`run`](run()) starts a broker in processes of its own, lets clients with habits drawn from a seed use it over TCP,
//! kills it, and waits until all has come to rest. A [`Crowd`] is the same clients on a broker that somebody else has
//! started, and kills. Everything is in the [`History`]; [`judge`](judge::judge()) reads that and nothing else. A run in
//! which too little happened shows nothing, and says so. That the judge finds what it should is shown by [`mistakes`].
//!
//! A tool for tests: part of no image.

mod broker;
mod cast;
mod client;
mod crowd;
pub mod history;
pub mod judge;
mod life;
pub mod mistakes;
mod nemesis;
mod pause;
mod recorder;
mod report;
mod run;

pub use broker::{Folders, Setup};
pub use crowd::{Crowd, DEFAULT_PATIENCE, Outcome};
pub use history::History;
pub use nemesis::Nemesis;
pub use report::{KillReport, MistakeReport};
pub use run::{Plan, run};
