//! The generated messages, client and server of `proto/freshet/storage/v1/storage.proto`.

#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

// Not a module file: the formatter leaves generated code as it was generated.
include!("generated/freshet.storage.v1.rs");
