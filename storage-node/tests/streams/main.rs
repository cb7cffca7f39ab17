//! A node as its proxies meet it: over real sockets, through the client that proxies use, and without it.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attach;
mod bad_peers;
mod broken_streams;
mod http;
mod messages;
mod raw;
mod relay;
mod test_node;
mod test_proxy;
