//! A load for `make bench`: sends one body for each of some request heads, over so many connections, as fast as
//! it is taken. Heads are signed beforehand; the body is sent from memory, so that the client costs little beside
//! the server. Says on standard output what all took and what each took.
//!
//! Every answer must be a 200, or nothing is said.

use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Instant;

const ANSWER_BYTES_MAX: usize = 64 * 1024;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, heads, body, connections] = &arguments[..] else {
        bail!("usage: s3_put HOST:PORT HEADS BODY CONNECTIONS");
    };
    let (heads, body) = (std::fs::read(heads)?, std::fs::read(body)?);
    let connections: usize = connections.parse().context("CONNECTIONS")?;
    let queue = Mutex::new(heads.split(|byte| *byte == 0));
    let next = || queue.lock().ok()?.next();
    let streams: Result<Vec<TcpStream>, _> = (0..connections).map(|_| TcpStream::connect(address)).collect();
    let began = Instant::now();
    let each = std::thread::scope(|scope| {
        let workers: Vec<_> = streams?
            .into_iter()
            .map(|mut stream| {
                scope.spawn({
                    let (next, body) = (&next, &body[..]);
                    move || {
                        stream.set_nodelay(true)?;
                        let mut each = Vec::new();
                        while let Some(head) = next() {
                            let began = Instant::now();
                            put(&mut stream, head, body)?;
                            each.push(began.elapsed().as_micros());
                        }
                        anyhow::Ok(each)
                    }
                })
            })
            .collect();
        let mut each = Vec::new();
        for worker in workers {
            each.extend(worker.join().map_err(|_| anyhow::anyhow!("a worker has died"))??);
        }
        anyhow::Ok(each)
    })?;
    let us = began.elapsed().as_micros();
    println!(
        "{}",
        serde_json::json!({"us": us as u64, "each_us": each.iter().map(|us| *us as u64).collect::<Vec<_>>()})
    );
    Ok(())
}

fn put(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> anyhow::Result<()> {
    stream.write_all(head)?;
    stream.write_all(body)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    // An answer to a PUT has no body, or says so.
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..read]);
        if read == 0 || answer.len() > ANSWER_BYTES_MAX {
            bail!("no answer: {}", String::from_utf8_lossy(&answer));
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        bail!("{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
