//! What the operator decides, as pure functions: no client, no clock, no randomness.
//!
//! A reconcile is dereference -> [`validate()`] -> [`build`] -> apply -> [`plan`] -> act -> [`status`]. The steps in
//! between that talk to the API server live in the operator's binary; everything that can be got wrong lives here.
//! [`observe`] turns what was read into plain facts, [`notices`] turns two observations into Events, and [`lease`]
//! decides who leads. [`keep`] sees to it that a new operator moves no client, [`loss`] finds dead proxies before
//! Kubernetes does, [`rollout`] says how far a new revision may go, [`disruption`] whom that moves, [`scaling`] reads how
//! a cluster is to be scaled, and [`volume`] says how the volumes of its storage nodes are.

pub mod build;
pub mod connections;
pub mod disruption;
pub mod keep;
pub mod labels;
pub mod lease;
pub mod loss;
pub mod names;
pub mod nodes;
pub mod notices;
pub mod observe;
pub mod plan;
pub mod requests;
pub mod rollout;
pub mod scaling;
pub mod status;
pub mod trouble;
pub mod units;
pub mod validate;
pub mod volume;

pub use validate::{DefaultImage, DefaultImages, InvalidResource, ValidatedCluster, validate};
