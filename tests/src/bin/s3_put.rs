//! A load for `make bench`: sends one body for each of some request heads, over so many connections, as fast as
//! it is taken. Heads are signed beforehand; the body is sent from memory, so that the client costs little beside
//! the server. Says on standard output what all took and what each took.
//!
//! Every answer must be a 200, or nothing is said. A server that ends connections is connected to again.

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
    let connect = |_| {
        let mut connection = Connection { address, stream: None };
        connection.stream = Some(connection.open()?);
        anyhow::Ok(connection)
    };
    let connections: anyhow::Result<Vec<Connection<'_>>> = (0..connections).map(connect).collect();
    let began = Instant::now();
    let each = std::thread::scope(|scope| {
        let workers: Vec<_> = connections?
            .into_iter()
            .map(|mut connection| {
                scope.spawn({
                    let (next, body) = (&next, &body[..]);
                    move || {
                        let mut each = Vec::new();
                        while let Some(head) = next() {
                            let began = Instant::now();
                            connection.put(head, body)?;
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

/// One connection, made anew when the other side ends it after an answer.
struct Connection<'a> {
    address: &'a str,
    stream: Option<TcpStream>,
}

impl Connection<'_> {
    fn open(&mut self) -> anyhow::Result<TcpStream> {
        if let Some(stream) = self.stream.take() {
            return Ok(stream);
        }
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn put(&mut self, head: &[u8], body: &[u8]) -> anyhow::Result<()> {
        let mut stream = self.open()?;
        stream.write_all(head)?;
        stream.write_all(body)?;
        if read_answer(&mut stream)? {
            self.stream = Some(stream);
        }
        Ok(())
    }
}

/// Takes an answer from the stream, all of it; whether the stream can be used for another one.
fn read_answer(stream: &mut TcpStream) -> anyhow::Result<bool> {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    let mut more = |answer: &mut Vec<u8>| {
        let read = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..read]);
        if read == 0 || answer.len() > ANSWER_BYTES_MAX {
            bail!("no answer: {}", String::from_utf8_lossy(answer));
        }
        anyhow::Ok(())
    };
    let head_bytes = loop {
        if let Some(end) = answer.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut answer)?;
    };
    let head = String::from_utf8_lossy(&answer[..head_bytes]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") && !head.starts_with("http/1.0 200 ") {
        bail!("{}", String::from_utf8_lossy(&answer));
    }
    let field =
        |name: &str| head.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name);
    let body_bytes = match field("content-length") {
        Some((_, length)) => length.trim().parse().context("Content-Length")?,
        None => 0, // an answer to a PUT has no body, or says so
    };
    while answer.len() < head_bytes + body_bytes {
        more(&mut answer)?;
    }
    let closes = field("connection").is_some_and(|(_, value)| value.trim() == "close");
    Ok(!closes && head.starts_with("http/1.1"))
}
