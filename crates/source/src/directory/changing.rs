//! The hint of errors that a change of the directory during a push causes.

/// The next step of a user whose directory changed while it was read.
pub(super) const CHANGING: &str =
    "another program is changing the directory; push again when it has finished";
