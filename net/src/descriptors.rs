//! Every namespace that a process works in costs it a few descriptors, and every program that it looks after one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Enough for all routers that a host may have. Programs that we start have as many, and some close each one by one.
const ENOUGH: u64 = 200_000;

/// As many as are of use and this process may have: it is usually started with 1,024.
pub fn descriptors_raise() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_descriptors_where_there_may_be_and_never_fewer() {
        let before = getrlimit(Resource::Nofile);
        descriptors_raise().unwrap();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        assert!(after.current.is_none_or(|now| now >= before.maximum.unwrap_or(ENOUGH).min(ENOUGH)));
    }
}
