//! Turns `proto/` into Rust code, in memory. Called by the generator and by the test that looks for drift.

use std::{env, error::Error, fs, path::Path, process};

/// The generated file, from the crate's folder.
pub(crate) const GENERATED_FILE: &str = "src/generated/freshet.load.v1.rs";

const PROTO_FOLDER: &str = "proto";
const PROTO_FILE: &str = "freshet/load/v1/load.proto";

/// Returns the code for the messages.
///
/// # Errors
/// When the protobuf file cannot be read or compiled.
pub(crate) fn render_load(crate_folder: &Path) -> Result<String, Box<dyn Error>> {
    let descriptors = protox::compile([PROTO_FILE], [crate_folder.join(PROTO_FOLDER)])?;
    // The generator writes into a folder only.
    let folder = env::temp_dir().join(format!("freshet-load-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let rendered = tonic_prost_build::configure()
        .out_dir(&folder)
        .compile_fds(descriptors)
        .and_then(|()| fs::read_to_string(folder.join("freshet.load.v1.rs")));
    fs::remove_dir_all(&folder)?;
    Ok(rendered?)
}
