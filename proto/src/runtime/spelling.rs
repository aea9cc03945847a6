//! How the names of headers are spelled in answers.
//!
//! HTTP does not care, and hyper writes lower case. What people run does care: scripts that look for
//! `Content-Length:` in what curl shows, s3cmd's own tests. Title case for all is no way out: clients tell users the
//! names of an object's metadata as they came, and those are in lower case.
//!
//! hyper writes names as they were read when a message carries how they were read; and nothing but reading makes
//! that. So a head with the wanted names is read once, and what came of it goes with each answer.

use bytes::Bytes;
use futures_util::FutureExt;
use http::Extensions;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone)]
pub struct Spelling(Extensions);

impl Spelling {
    /// All other names stay in lower case. None for names that are none.
    pub fn of(names: &[&str]) -> Option<Self> {
        let value = |name: &str| if name.eq_ignore_ascii_case("content-length") { "0" } else { "close" };
        let lines: String = names.iter().map(|name| format!("{name}: {}\r\n", value(name))).collect();
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let read = Arc::new(Mutex::new(None));
        let keep = read.clone();
        let service =
            hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                *keep.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(std::mem::take(request.extensions_mut()));
                std::future::ready(Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new())))
            });
        let stream = TokioIo::new(tokio::io::join(head.as_bytes(), tokio::io::sink()));
        let mut connection = hyper::server::conn::http1::Builder::new();
        let connection = connection.preserve_header_case(true).serve_connection(stream, service);
        let _ = connection.now_or_never(); // the head comes from memory: it is read at once, or never
        let read = read.lock().unwrap_or_else(PoisonError::into_inner).take();
        read.map(Self)
    }

    pub fn put<B>(&self, answer: &mut http::Response<B>) {
        answer.extensions_mut().extend(self.0.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_cannot_be_read_spells_nothing() {
        assert!(Spelling::of(&["Content-Length", "ETag"]).is_some());
        assert!(Spelling::of(&["no name"]).is_none());
    }
}
