//! Proxies, a storage node and clients in one deterministic world, and the reference model that judges what the
//! clients saw.
//!
//! A [`Sequence`] of actions (of clients, and of things that break) is drawn from a seed and run in a `World`: real
//! worker, link and storage cores, real bytes between clients and workers, in-memory queues in between whose delays
//! and order a seeded generator chooses, and time that passes when the world says so. Clients write down what they
//! said and what they were told ([`History`]); the model reads that and nothing else ([`model::judge`]). A sequence
//! that fails is made shorter by leaving actions out ([`shrink`]).
//!
//! For tests alone. Pure like the cores it runs: no clock, no threads, no randomness but the seed's.

mod action;
mod client;
mod generate;
mod history;
mod leftovers;
pub mod model;
pub mod noise;
#[cfg(feature = "planted-faults")]
pub mod planted;
mod random;
mod run;
mod shrink;
mod topics;
mod violation;
mod world;

pub use action::{Action, Memory, OpenOptions, Sequence, Step, WillOptions};
pub use history::History;
pub use random::Random;
pub use run::{Failure, Outcome, run, run_traced};
pub use shrink::shrink;
pub use violation::Violation;
