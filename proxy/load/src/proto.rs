//! The generated messages of `proto/freshet/load/v1/load.proto`.

#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

// Not a module file: the formatter leaves generated code as it was generated.
include!("generated/freshet.load.v1.rs");
