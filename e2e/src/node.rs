//! The embedded Kubernetes: real servers of pinned versions, in network namespaces of their own, on this machine alone.
//!
//! [`up()`] and [`down()`] are what callers need; an [`instance::Instance`] names which cluster is meant, so that several
//! run beside each other. One module per part:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`binaries`] | builds the servers, `kubectl` and `helm` from Go modules, once |
//! | [`packages`] | installs what comes from Debian |
//! | [`instance`], [`lock`] | where an instance keeps its state, and who may change it |
//! | [`machine`] | what all instances share |
//! | [`addresses`], [`network`] | its addresses; its namespaces, bridge and links |
//! | [`pki`] | certificates and kubeconfigs |
//! | [`mounts`], [`cgroup`] | what a node needs of the kernel beside its network |
//! | [`process`] | servers that stay: started, found again, ended |
//! | [`control_plane`], [`containerd`], [`kubelet`], [`dns`], [`storage_class`] | what each server is told |
//!
//! Every server finds the others through files and addresses of the instance; nothing of it listens outside, and
//! there is no route out of it.

pub mod addresses;
pub mod binaries;
pub mod cgroup;
pub mod containerd;
pub mod control_plane;
pub mod dns;
pub mod down;
pub mod instance;
pub mod kubelet;
pub mod lock;
pub mod machine;
pub mod mounts;
pub mod network;
pub mod packages;
pub mod pki;
pub mod process;
pub mod storage_class;
pub mod up;

pub use down::down;
pub use instance::{Instance, InstanceName};
pub use up::{UpOptions, up};
