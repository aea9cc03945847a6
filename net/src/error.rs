//! What goes wrong with the kernel's networks, by what is to be done about it.

use std::io::{Error, ErrorKind};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Worth trying again in a moment.
    #[error("{0}")]
    Later(String),
    #[error("{0}")]
    Broken(String),
}

impl NetError {
    pub fn of(what: &str, error: &Error) -> Self {
        let message = format!("{what}: {error}");
        if is_passing(error) { Self::Later(message) } else { Self::Broken(message) }
    }
}

/// `EMFILE` and `ENFILE`: too many open files, of the process or of the host.
const TOO_MANY_FILES: [i32; 2] = [24, 23];

/// What may be otherwise in a moment, with nothing done about it but waiting.
pub fn is_passing(error: &Error) -> bool {
    let kind = matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ResourceBusy
            | ErrorKind::OutOfMemory
    );
    kind || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_host_passes_and_a_missing_program_does_not() {
        let (again, busy, no_memory, too_many_files) = (11, 16, 12, 24);
        for code in [again, busy, no_memory, too_many_files] {
            assert!(is_passing(&Error::from_raw_os_error(code)), "{code}");
        }
        let (no_such_file, not_permitted, bad_argument) = (2, 1, 22);
        for code in [no_such_file, not_permitted, bad_argument] {
            assert!(!is_passing(&Error::from_raw_os_error(code)), "{code}");
        }
    }
}
