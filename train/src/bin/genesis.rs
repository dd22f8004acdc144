//! The `genesis` program: parses the command line, runs the command, turns an error into one line.

use clap::Parser;
use genesis_train::Error;
use genesis_train::commands::Cli;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where an allocation of the standard library fails, it says so in a line and aborts; that is made an ordinary end.
fn end_with_code_1_when_memory_runs_out() {
    let always = Arc::new(AtomicBool::new(true));
    // Without the handler the process still ends, by a signal.
    let _ = signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGABRT, 1, always);
}

fn main() -> ExitCode {
    end_with_code_1_when_memory_runs_out();
    genesis_tensor::memory::share_limited_address_space();
    let cli = Cli::parse();
    genesis_train::progress::init_logging(cli.common().verbose, cli.common().quiet);
    std::panic::set_hook(Box::new(|panic| {
        // The reader of our output went away (`genesis … | head`): nothing is wrong.
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to stdout")) {
            std::process::exit(0);
        }
        let place = panic.location().map_or_else(String::new, |place| format!(" ({place})"));
        eprintln!("error: internal error{place}: please report this with the command that led to it");
    }));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cli.run()));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            // Asked for, hence no error.
            let title = if matches!(error, Error::Stopped { .. }) { "" } else { "error: " };
            eprintln!("{title}{error}");
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::FAILURE,
    }
}
