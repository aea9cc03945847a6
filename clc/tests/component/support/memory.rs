//! Where the files of these tests are: in memory, for their databases sync each row that they write, and nobody here pulls the
//! plug. What survives that is proved elsewhere.

use std::path::Path;
use tempfile::{Builder, TempDir};

const MEMORY: &str = "/dev/shm";
/// Some clouds at a time and the server of their databases take a tenth of that. Containers often have 64 MB in all.
const ROOM_LEAST_BYTES: u64 = 1 << 30;

pub fn directory(prefix: &str) -> TempDir {
    let mut builder = Builder::new();
    let builder = builder.prefix(prefix);
    if has_room(Path::new(MEMORY)) { builder.tempdir_in(MEMORY) } else { builder.tempdir() }.unwrap()
}

fn has_room(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|told| told.f_bavail * told.f_frsize >= ROOM_LEAST_BYTES)
}
