//! Measures the whole program against the sandbox. Prints a table of figures, each a ratio within this run, so that
//! they are valid on a noisy machine too.
//!
//! Everything measured is a separate process: the program, the bare loop that it is compared with, and the sandbox that
//! both talk to, which keeps its answers in memory and only counts posts.
#![cfg_attr(
    test,
    allow(unused_imports, reason = "cargo checks benches as tests, but without a harness no test is one")
)]
#![allow(clippy::indexing_slicing, clippy::print_stderr, reason = "a bench that panics has failed, and says why")]

mod api;
mod bare;
mod directory;
mod figures;
mod large;
mod process;
mod remembering;
mod service;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use figures::{Bench, Figure};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// The program to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_azure-incremental"))]
    binary: PathBuf,
    /// Only these figures
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    figures: Vec<u8>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What this executable is when it starts itself.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Serve(service::Shape),
    #[command(hide = true)]
    Bare(bare::Bare),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.role {
        Some(Role::Serve(shape)) => service::serve(&shape),
        Some(Role::Bare(bare)) => bare::run(&bare),
        None => measure(cli.binary, &cli.figures),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(binary: PathBuf, asked: &[u8]) -> io::Result<()> {
    let bench = Bench { binary };
    let mut figures: Vec<Figure> = Vec::new();
    for (number, take) in Bench::ALL {
        if asked.is_empty() || asked.contains(&number) {
            eprintln!("figure {number} …");
            figures.extend(take(&bench)?);
        }
    }
    let mut out = io::stdout();
    writeln!(out, "| | figure | measured | beside | ratio | target | |")?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
    figures.iter().try_for_each(|figure| writeln!(out, "{figure}"))
}
