//! `freshet`: the command line for people. `freshet standalone` is the whole broker in one process.

mod arguments;
mod broker;
mod manifest;
mod storage;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let Arguments {
        command: Command::Standalone(standalone),
    } = Arguments::parse();
    match broker::run(&standalone) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
