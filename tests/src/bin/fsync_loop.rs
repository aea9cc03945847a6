//! A yardstick for `make bench`: creates files of 4 KiB in a directory and syncs each, by so many threads at once,
//! and removes them. Says the microseconds that all took, without the removing.

use anyhow::{Context, bail};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const FILE_BYTES: usize = 4096;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, threads, count] = &arguments[..] else { bail!("usage: fsync_loop DIR THREADS COUNT") };
    let directory = Path::new(directory);
    let (threads, count): (usize, usize) =
        (threads.parse().context("THREADS")?, count.parse().context("COUNT")?);
    std::fs::create_dir_all(directory)?;
    let next = AtomicUsize::new(0);
    let create = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok(());
            }
            let mut file = File::create_new(directory.join(number.to_string()))?;
            file.write_all(&[0x6b; FILE_BYTES])?;
            file.sync_all()?;
        }
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(create)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a worker has died"))?)
    })?;
    let us = began.elapsed().as_micros();
    std::fs::remove_dir_all(directory)?;
    println!("{us}");
    Ok(())
}
