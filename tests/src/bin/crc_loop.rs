//! A yardstick for `make bench`: reads a file in the blocks that Walrus verifies, and computes the checksum of each as Walrus
//! does. Says the microseconds that both took, as JSON.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

const BLOCK_BYTES: usize = 64 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = &arguments[..] else { bail!("usage: crc_loop FILE") };
    let mut file = File::open(path).context(path.clone())?;
    let (mut block, mut all) = (vec![0; BLOCK_BYTES], 0u32);
    let (mut read, mut computed) = (Duration::ZERO, Duration::ZERO);
    loop {
        let began = Instant::now();
        let bytes = file.read(&mut block)?;
        let arrived = Instant::now();
        if bytes == 0 {
            break;
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&block[..bytes]);
        all ^= crc.finalize();
        read += arrived - began;
        computed += arrived.elapsed();
    }
    println!("{{\"read_us\": {}, \"crc_us\": {}, \"all\": {all}}}", read.as_micros(), computed.as_micros());
    Ok(())
}
