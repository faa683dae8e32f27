//! The one error type of Tapeloop's crates: what the caller should do, what failed, and why.
//!
//! **Invariant:** a message is lowercase, has no final dot, and names the value that was refused.

use std::fmt;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong; change it.
    Invalid,
    /// What was asked for does not exist.
    NotFound,
    /// It exists already, or is in use by somebody else.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// It may work later: a full queue, a full disk, an agent that is not there.
    Unavailable,
    /// The data is damaged.
    Corrupt,
    /// A fault of ours.
    Internal,
}

/// A failed operation.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result with Tapeloop's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns an error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Returns an error for a request that must be changed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Returns an error for something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Returns an error for damaged data.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// Returns an error for something that may work later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Returns the error with `source` as its cause.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns an error for an I/O failure, with a kind that fits it; `what` says what failed, with the path last.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => Kind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Kind::Denied,
            Io::AlreadyExists => Kind::Conflict,
            Io::InvalidData | Io::UnexpectedEof => Kind::Corrupt,
            _ => Kind::Unavailable,
        };
        Self::new(kind, what).caused_by(source)
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns what failed, without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns whether bytes are missing that somebody still has to feed: see [`crate::source::Fed`].
    pub fn lacks_bytes(&self) -> bool {
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind == Kind::Unavailable
    }
}

impl fmt::Display for Error {
    /// Writes the message and, behind colons, every cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}
