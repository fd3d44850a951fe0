//! The one error of the product. The kind decides the status, the message is for the reader, the source for the log.

use std::borrow::Cow;
use std::fmt;

/// What went wrong, as far as a caller may act on it. Surfaces map it once: HTTP status, MQTT reason code, exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The input is wrong; the message says what and how to mend it.
    Invalid,
    /// Nobody is known behind the request.
    Unauthenticated,
    /// Somebody is known, and may not.
    Forbidden,
    /// Somebody is known and may, once they have shown again who they are.
    StepUp,
    /// Somebody is known and may, once another person has approved it.
    Approval,
    /// It is not there, or the actor may not know that it is.
    NotFound,
    /// The state of the thing forbids the move.
    Conflict,
    /// A named limit was reached.
    TooMany,
    /// A part is not ready or has failed; trying again later may help.
    Unavailable,
    /// A defect or a broken machine. Readers see "internal error" only.
    Internal,
}

impl Kind {
    /// The HTTP status of this kind (RFC 9110).
    pub fn status(self) -> u16 {
        match self {
            Kind::Invalid => 422,
            Kind::Unauthenticated => 401,
            Kind::Forbidden | Kind::StepUp | Kind::Approval => 403,
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::TooMany => 429,
            Kind::Unavailable => 503,
            Kind::Internal => 500,
        }
    }

    /// The kind as one word, for URLs of problem types, metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Unauthenticated => "unauthenticated",
            Kind::Forbidden => "forbidden",
            Kind::StepUp => "step-up",
            Kind::Approval => "approval",
            Kind::NotFound => "not-found",
            Kind::Conflict => "conflict",
            Kind::TooMany => "too-many",
            Kind::Unavailable => "unavailable",
            Kind::Internal => "internal",
        }
    }
}

/// An error that reads after "failed: ": a lowercase fragment, names in backticks, no full stop.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with the product's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that tells the reader `message`.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Error { kind, message: message.into(), hint: None, source: None }
    }

    /// The input is wrong.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Nobody is known behind the request.
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unauthenticated, message)
    }

    /// The actor may not.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Forbidden, message)
    }

    /// `what` named `which` is not there.
    pub fn not_found(what: &str, which: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("{what} `{which}` does not exist"))
    }

    /// The state of the thing forbids the move.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// A named limit was reached.
    pub fn too_many(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::TooMany, message)
    }

    /// A part is not ready or has failed.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// A defect or a broken machine; `message` goes to the log.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause, which only the log shows.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the reader is told. An internal error tells nothing of the inside.
    pub fn message(&self) -> &str {
        if self.kind == Kind::Internal { "internal error" } else { &self.message }
    }

    /// How to mend it, when that is known.
    pub fn hint_text(&self) -> Option<&str> {
        if self.kind == Kind::Internal { None } else { self.hint.as_deref() }
    }

    /// The cause, when it is of this type.
    pub fn cause<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.source.as_deref().and_then(|source| source.downcast_ref())
    }

    /// Message and causes for the log and for a person at the command line.
    pub fn detail(&self) -> String {
        let mut text = self.message.to_string();
        let mut next: Option<&dyn std::error::Error> = self.source.as_deref().map(|s| s as _);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail())
    }
}

// `Error` itself is no `std::error::Error`, so that every foreign error converts into Internal by `?`.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Self {
        Error {
            kind: Kind::Internal,
            message: Cow::Borrowed("unforeseen"),
            hint: None,
            source: Some(Box::new(source)),
        }
    }
}
