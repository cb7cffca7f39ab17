//! Two ways to drive a proxy's connections, measured with storage in a process of its own.
//!
//! `cargo run --release -p freshet-bench-spike` runs everything and writes `bench/spike/results/`; `-- --quick` takes
//! less than three minutes. The same binary is the storage process (`echo`), the proxy (`proxy`) and the load. The broker
//! in it is throwaway: just enough MQTT to be measured. What it decided is in `docs/architecture.md`.

mod batch;
mod counters;
mod driver_async_fd;
mod driver_epoll;
mod echo;
mod filters;
mod idle;
mod mailbox;
mod processes;
mod proxy;
mod run;
mod storage;
mod table;
mod tls;
mod worker;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

#[derive(clap::Parser)]
#[command(about = "Measures the drivers A (epoll set inside a tokio runtime) and C (epoll loop beside a tokio thread)")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: run::Options,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Started by the measurement: the storage process.
    Echo,
    /// Started by the measurement: the proxy.
    Proxy(proxy::Options),
}

fn main() -> ExitCode {
    let Arguments { role, options } = Arguments::parse();
    freshet_bench_load::raise_file_limit();
    let result = match role {
        None => run::run(&options),
        Some(Role::Echo) => echo::run(|address| {
            println!("{address}");
            end_with_the_parent(String::new);
        }),
        Some(Role::Proxy(options)) => proxy::run(&options, |address, counters| {
            println!("{address}");
            end_with_the_parent(move || counters::Total(&counters).to_string());
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the process, with `last_words` on standard output, when the parent closes standard input or dies.
fn end_with_the_parent(last_words: impl FnOnce() -> String + Send + 'static) {
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        // A parent that was killed reads no more; `println!` would panic, and the process would stay.
        let _ = writeln!(std::io::stdout(), "{}", last_words());
        std::process::exit(0);
    });
}
