//! `freshet`: the command line for people. `freshet standalone` is the whole broker in one process, `freshet admin` looks at
//! a running one.

mod admin;
mod arguments;
mod broker;
mod manifest;
mod storage;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};

/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Standalone(standalone) => broker::run(&standalone),
        Command::Admin(admin) => admin::run(&admin),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
