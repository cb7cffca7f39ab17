//! Proxies and storage apart, over real sockets: messages, takeover, storage that goes and comes, bad input, drains.
//!
//! What a single worker does is tested in `freshet-proxy-core`, what storage does in `freshet-storage-core`; here is
//! what only sockets, threads and streams can get wrong.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod client;
mod cluster;
mod drain;
mod http;
mod listeners;
mod load;
mod malformed;
mod messages;
mod orders;
mod process;
mod relay;
mod sessions;
mod shared;
mod slow_consumer;
mod sparkplug;
mod sparkplug_host;
mod storage_lost;
mod sys;
mod takeover;
