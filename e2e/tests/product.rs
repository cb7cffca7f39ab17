//! The product on a real Kubernetes, with clients that somebody else wrote: what a user of an `MqttCluster` sees, also
//! when something fails. Needs root, Go and Rust; builds images and servers when they are not cached.

#[path = "product/bad_input.rs"]
mod bad_input;
#[path = "product/broker.rs"]
mod broker;
#[path = "product/changes.rs"]
mod changes;
#[path = "product/client.rs"]
mod client;
#[path = "product/demotion.rs"]
mod demotion;
#[path = "product/device.rs"]
#[allow(dead_code, reason = "the cases of `measure` use the rest")]
mod device;
#[path = "product/failures.rs"]
mod failures;
#[path = "product/fault_points.rs"]
mod fault_points;
#[path = "product/life.rs"]
mod life;
#[path = "product/lifecycle.rs"]
mod lifecycle;
#[path = "product/losses.rs"]
mod losses;
#[path = "product/messages.rs"]
mod messages;
#[path = "product/moves.rs"]
mod moves;
#[path = "product/node_drain.rs"]
mod node_drain;
#[path = "product/operator.rs"]
mod operator;
#[path = "product/operator_process.rs"]
#[allow(dead_code, reason = "the cases of `measure` use the rest")]
mod operator_process;
#[path = "product/operator_upgrade.rs"]
mod operator_upgrade;
#[path = "product/operators.rs"]
mod operators;
#[path = "product/placement.rs"]
mod placement;
#[path = "product/refusals.rs"]
mod refusals;
#[path = "product/rollout.rs"]
mod rollout;
#[path = "product/scaling.rs"]
mod scaling;
#[path = "product/sessions.rs"]
mod sessions;
#[path = "product/sys.rs"]
mod sys;
#[path = "product/trial.rs"]
mod trial;
#[path = "product/turns.rs"]
mod turns;
#[path = "product/volume.rs"]
mod volume;
#[path = "product/volume_claims.rs"]
mod volume_claims;
#[path = "product/volume_moves.rs"]
mod volume_moves;
#[path = "product/warm.rs"]
mod warm;
#[path = "product/wills.rs"]
mod wills;
