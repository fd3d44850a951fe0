//! The agent's own program, a fraction of the size of the whole: what it does is `muster agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    muster::cli::run_agent()
}
