//! The tracing subscriber: where log lines go, in which form, and how many of them asked for a person.
//!
//! Text is for a terminal, one JSON object a line for everything else. Values that must not be seen are
//! `base::Secret`, which prints as `[secret]`; headers, cookies, bodies and query strings are never fields.
//!
//! Invariant: starting twice is no error and changes nothing, so that many servers can live in one test process.
//! Invariant: every `error!` of our own is counted, whether or not the filter shows it.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::base::{Error, Result};

/// What is shown when nobody says otherwise: our own lines, and of foreign crates what went wrong.
pub const FILTER_DEFAULT: &str = "warn,rumqttd=off,muster=info";

static ERRORS: AtomicU64 = AtomicU64::new(0);

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Text when standard error is a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl std::str::FromStr for Form {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Form::Auto),
            "text" => Ok(Form::Text),
            "json" => Ok(Form::Json),
            _ => Err(Error::invalid(format!(
                "`{}` is not a form of log lines",
                text.chars().take(40).collect::<String>()
            ))
            .hint("write `auto`, `text` or `json`")),
        }
    }
}

/// Sends log lines to standard error. `filter` is in the form of `RUST_LOG`; empty takes [`FILTER_DEFAULT`].
pub fn start(filter: &str, form: Form) -> Result<()> {
    let filter = parse(filter)?;
    let json = match form {
        Form::Auto => !std::io::stderr().is_terminal(),
        Form::Text => false,
        Form::Json => true,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Colours are for a terminal; in a journal or a file they are noise.
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed()
    } else {
        lines.with_target(false).with_filter(filter).boxed()
    };
    // Only the first start of a process takes effect; tests start many servers.
    let _ = tracing_subscriber::registry().with(Count).with(lines).try_init();
    Ok(())
}

/// Checks a filter without starting anything.
pub fn check(filter: &str) -> Result<()> {
    parse(filter).map(|_| ())
}

/// How many `error!` events this process has logged: each one asked a person to act.
pub fn errors() -> u64 {
    ERRORS.load(Ordering::Relaxed)
}

fn parse(filter: &str) -> Result<EnvFilter> {
    let filter = if filter.trim().is_empty() { FILTER_DEFAULT } else { filter };
    EnvFilter::try_new(filter).map_err(|e| {
        Error::invalid(format!("the log filter `{filter}` is not valid"))
            .hint("for example `info` or `warn,muster=debug`")
            .because(e)
    })
}

struct Count;

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR && event.metadata().target().starts_with("muster") {
            ERRORS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_and_starting_twice_is_harmless() {
        let subscriber = tracing_subscriber::registry().with(Count);
        let before = errors();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("a person must act");
            tracing::warn!("it recovered");
        });
        assert!(errors() > before);
        assert!(start("", Form::Text).is_ok());
        assert!(start("info", Form::Json).is_ok());
    }

    #[test]
    fn settings_are_checked() {
        assert!(check("warn,muster=debug").is_ok());
        assert!(check("muster=loud").unwrap_err().message().contains("loud"));
        assert_eq!("json".parse::<Form>().unwrap(), Form::Json);
        assert!("xml".parse::<Form>().unwrap_err().hint_text().unwrap().contains("auto"));
    }
}
