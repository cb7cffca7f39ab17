//! The embedded Kubernetes itself: what a cluster must offer to be taken for a real one, and that it goes without a
//! trace. Needs root and Go; builds the servers when they are not cached.

#[path = "node/instances.rs"]
mod instances;
#[path = "node/serving.rs"]
mod serving;
#[path = "node/tools.rs"]
mod tools;
