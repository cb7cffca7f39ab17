//! Writes `src/generated/` from `proto/`. Run by `make generate`; the crate's tests notice when it was forgotten.

mod render;

use std::{fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = render::render_load(crate_folder)?;
    fs::write(crate_folder.join(render::GENERATED_FILE), code)?;
    Ok(())
}
