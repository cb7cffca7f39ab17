//! What the product does on a real Kubernetes, in figures: one case for each row of `bench/results/kubernetes.md`.
//!
//! Run by `xtask measure`, and ignored otherwise: the figures take an hour, and mean something only where nothing else runs.
//! A case fails where something is lost, doubled or moved twice; that a goal was missed stands in the table.

#[path = "product/broker.rs"]
#[allow(dead_code, reason = "the cases of `product` use the rest")]
mod broker;
#[path = "product/client.rs"]
#[allow(dead_code, reason = "the cases of `product` use the rest")]
mod client;
#[path = "product/device.rs"]
mod device;
#[path = "product/operator_process.rs"]
#[allow(dead_code, reason = "the cases of `product` use the rest")]
mod operator_process;
#[path = "product/operators.rs"]
mod operators;
#[path = "product/turns.rs"]
#[allow(dead_code, reason = "the cases of `product` use the rest")]
mod turns;

#[path = "measure/absences.rs"]
mod absences;
#[path = "measure/capacity.rs"]
mod capacity;
#[path = "measure/deaths.rs"]
mod deaths;
#[path = "measure/faulty_image.rs"]
mod faulty_image;
#[path = "measure/handovers.rs"]
mod handovers;
#[path = "measure/loads.rs"]
mod loads;
#[path = "measure/many.rs"]
mod many;
#[path = "measure/path.rs"]
mod path;
#[path = "measure/probes.rs"]
mod probes;
#[path = "measure/promotions.rs"]
mod promotions;
#[path = "measure/publishers.rs"]
mod publishers;
#[path = "measure/rise.rs"]
mod rise;
#[path = "measure/slow_connacks.rs"]
mod slow_connacks;
#[path = "measure/stage.rs"]
mod stage;
#[path = "measure/stand_ins.rs"]
mod stand_ins;
#[path = "measure/storm.rs"]
mod storm;
#[path = "measure/table.rs"]
mod table;
