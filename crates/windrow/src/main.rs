//! The command line.

use std::process::ExitCode;

use clap::Parser;
use windrow::cli::{Cli, trace};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    trace::start(&cli.trace());
    cli.run()
}
