//! Where the files of these tests are: in memory, for their databases sync each row that they write, and nobody here pulls the
//! plug. What survives that is proved elsewhere.

use std::path::Path;
use tempfile::{Builder, TempDir};

const MEMORY: &str = "/dev/shm";

pub fn directory(prefix: &str) -> TempDir {
    let mut builder = Builder::new();
    let builder = builder.prefix(prefix);
    let is_there = Path::new(MEMORY).is_dir();
    if is_there { builder.tempdir_in(MEMORY) } else { builder.tempdir() }.unwrap()
}
