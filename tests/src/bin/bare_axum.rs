//! A yardstick for `make bench`: an axum handler that does nothing but send the bytes of a file, on a free
//! port of loopback. It says where on standard output and serves until it is killed.

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::serve::ListenerExt as _;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).context("usage: bare_axum FILE")?;
    let bytes = Bytes::from(std::fs::read(file)?);
    let send = move |_request: Bytes| {
        let bytes = bytes.clone();
        async move { ([(CONTENT_TYPE, "text/xml;charset=UTF-8")], bytes) }
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}", listener.local_addr()?);
    // As the controllers' own listeners do.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, Router::new().fallback(send)).await?;
    Ok(())
}
