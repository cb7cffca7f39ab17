//! A real Kubernetes for `make up`, for the end-to-end tests, and for whoever wants to look at one.
//!
//! [`node`] builds pinned Kubernetes servers, starts them in network namespaces of their own and takes them away again;
//! [`cluster::Cluster`] is the handle that tests and `xtask` work with; [`oci`] writes the images that it runs, and
//! [`product`] puts Freshet on it. The rest is what tests of a cluster need: namespaces that go away, waiting with
//! deadlines, clients, diagnostics. Leaves out the verbs of the Makefile, which are in `xtask`.

pub mod cluster;
pub mod command;
pub mod condition;
pub mod diagnostics;
pub mod kubectl;
pub mod metrics;
pub mod mosquitto;
pub mod node;
pub mod oci;
pub mod pod_process;
pub mod product;
pub mod progress;
pub mod temp_namespace;

pub use cluster::Cluster;
pub use condition::await_condition;
pub use temp_namespace::with_temp_namespace;
