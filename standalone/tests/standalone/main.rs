//! `freshet standalone` as people run it: the command line, the manifest, messages, and its end.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// The same small client and the same look at metrics as in the proxy's tests.
#[path = "../../../proxy/tests/broker/client.rs"]
#[allow(dead_code, reason = "these tests say less than the proxy's")]
mod client;
#[path = "../../../proxy/tests/broker/http.rs"]
#[allow(dead_code, reason = "these tests ask less than the proxy's")]
mod http;
#[path = "../../../proxy/tests/broker/malformed.rs"]
mod malformed;

mod admin;
#[allow(dead_code, reason = "other tests ask for more")]
mod broker;
mod cold;
mod command_line;
mod disk;
mod messages;
mod sessions;
mod shared;
mod sys;
