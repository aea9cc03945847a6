//! For tests of who calls us: a network between them and a router, which fails as it is told.

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http_body_util::BodyExt as _;
use std::io;
use std::sync::{Arc, Mutex};

pub fn before(router: Router, faults: Arc<Faults>) -> Router {
    router.layer(from_fn_with_state(faults, network))
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Not carried out.
    Refused(u16, &'static str),
    /// Not carried out, and answered with this document.
    Document(&'static str),
    /// Carried out, and answered 500.
    Lost,
    /// Carried out, and never answered.
    Unanswered,
    /// The body breaks off behind so many bytes.
    Cut(usize),
    /// The body stands still behind so many bytes.
    Stuck(usize),
    /// This byte of the body is another one.
    Flipped(usize),
    /// It does not say which part of the object it is.
    Unranged,
}

#[derive(Debug)]
struct Rule {
    method: &'static str,
    /// Part of the path, the query or the range.
    about: &'static str,
    times: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    pub fn add(&self, method: &'static str, about: &'static str, times: usize, fault: Fault) {
        self.0.lock().unwrap().push(Rule { method, about, times, fault });
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// How often the rules may still strike.
    pub fn left(&self) -> usize {
        self.0.lock().unwrap().iter().map(|rule| rule.times).sum()
    }

    pub fn left_of(&self, method: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|rule| rule.method == method).map(|rule| rule.times).sum()
    }

    fn of(&self, request: &Request) -> Option<Fault> {
        let range = request.headers().get("range").and_then(|range| range.to_str().ok()).unwrap_or_default();
        let what = format!("{} {range}", request.uri());
        let mut rules = self.0.lock().unwrap();
        let is_of = |rule: &&mut Rule| {
            rule.times > 0 && rule.method == request.method().as_str() && what.contains(rule.about)
        };
        let rule = rules.iter_mut().find(is_of)?;
        rule.times -= 1;
        Some(rule.fault)
    }
}

async fn network(State(faults): State<Arc<Faults>>, request: Request, next: Next) -> Response {
    let Some(fault) = faults.of(&request) else { return next.run(request).await };
    match fault {
        Fault::Refused(status, code) => {
            let status = http::StatusCode::from_u16(status).unwrap();
            (status, format!("<Error><Code>{code}</Code></Error>")).into_response()
        }
        Fault::Document(text) => text.into_response(),
        Fault::Lost => {
            let answer = next.run(request).await;
            assert!(answer.status().is_success(), "{answer:?}");
            answer.into_body().collect().await.unwrap();
            http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Fault::Unanswered => {
            next.run(request).await.into_body().collect().await.unwrap();
            std::future::pending().await
        }
        Fault::Cut(at) => changed(next.run(request).await, at, Some(Err(io::Error::other("cut")))).await,
        Fault::Stuck(at) => changed(next.run(request).await, at, None).await,
        Fault::Flipped(at) => {
            let (head, body) = next.run(request).await.into_parts();
            let mut body = body.collect().await.unwrap().to_bytes().to_vec();
            body[at] ^= 1;
            Response::from_parts(head, body.into())
        }
        Fault::Unranged => {
            let (mut head, body) = next.run(request).await.into_parts();
            head.status = http::StatusCode::OK;
            head.headers.remove("content-range");
            Response::from_parts(head, body)
        }
    }
}

/// The head says all, the body ends with `end` behind `at` bytes; or it does not end.
async fn changed(answer: Response, at: usize, end: Option<io::Result<bytes::Bytes>>) -> Response {
    let (head, body) = answer.into_parts();
    let begin = body.collect().await.unwrap().to_bytes().slice(..at);
    let last = async move {
        match end {
            Some(end) => end,
            None => std::future::pending().await,
        }
    };
    let body =
        HttpBody::from_stream(futures_util::StreamExt::chain(stream::iter([Ok(begin)]), stream::once(last)));
    Response::from_parts(head, body)
}
