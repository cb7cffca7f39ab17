//! The checked-in code is what the protobuf file says.

#[path = "../examples/generate-load/render.rs"]
mod render;

use std::{fs, path::Path};

#[test]
fn the_generated_code_is_up_to_date() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rendered = render::render_load(crate_folder).expect("the protobuf file compiles");
    let checked_in = fs::read_to_string(crate_folder.join(render::GENERATED_FILE)).expect("the generated file exists");
    assert!(
        checked_in == rendered,
        "{} has drifted: run `make generate`",
        render::GENERATED_FILE
    );
}
