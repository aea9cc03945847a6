//! Answers as HTTP: status, headers, body.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use futures_util::stream;
use karri_proto::aws::envelope::{self, Blame};
use karri_proto::aws::{Action, Encode, Service, XmlWriter};
use karri_proto::fault::Fault;
use karri_proto::sign::SignFault;
use std::convert::Infallible;

/// The body of an answer, in pieces that need not be copied together.
#[derive(Debug, Clone)]
pub struct Reply(Vec<Bytes>);

/// Encodes nothing: what is left is the envelope.
struct Hollow;

impl Encode for Hollow {
    fn encode(&self, _: &mut XmlWriter) {}
}

impl Reply {
    pub fn whole(text: String) -> Self {
        Self(vec![Bytes::from(text)])
    }

    /// An envelope around a body that was encoded before. EC2 only: its body ends where the root does.
    pub fn around<A: Action>(body: Vec<Bytes>, version: &str, request_id: &str) -> Self {
        let mut head = envelope::answer_body::<A>(&Hollow, version, request_id);
        let tail = head.split_off(head.len() - format!("</{}Response>", A::NAME).len());
        let mut parts = vec![Bytes::from(head)];
        parts.extend(body);
        parts.push(Bytes::from(tail));
        Self(parts)
    }

    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let length: usize = self.0.iter().map(Bytes::len).sum();
        let body = match <[Bytes; 1]>::try_from(self.0) {
            Ok([only]) => Body::from(only),
            Err(parts) => Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>))),
        };
        respond(StatusCode::OK, body, length, request_id)
    }
}

/// What a refused request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    /// What went wrong in here; for the log only.
    pub cause: Option<String>,
    /// Of a refusal, what EC2's one sentence for all of them leaves out; for the log only.
    pub detail: Option<String>,
}

impl Refusal {
    pub fn signature(fault: &SignFault, service: Service) -> Self {
        let (status, code, message) = match service {
            Service::Ec2 => fault.ec2(),
            Service::Sts => fault.query_service(),
        };
        Self { status, code, message, cause: None, detail: Some(fault.to_string()) }
    }

    /// Why, for who runs the cloud.
    pub fn reason(&self) -> &str {
        self.detail.as_deref().unwrap_or(&self.message)
    }

    pub fn into_response(self, service: Service, request_id: &str) -> Response<Body> {
        let blame = if self.status >= 500 { Blame::Receiver } else { Blame::Sender };
        let text = envelope::fault(service, blame, self.code, &self.message, request_id);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let length = text.len();
        respond(status, Body::from(text), length, request_id)
    }
}

impl<F: Into<Fault>> From<F> for Refusal {
    fn from(fault: F) -> Self {
        let fault = fault.into();
        Self {
            status: fault.status(),
            code: fault.code(),
            message: fault.message().to_owned(),
            cause: fault.cause().map(str::to_owned),
            detail: None,
        }
    }
}

fn respond(status: StatusCode, body: Body, length: usize, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", value);
    }
    response
}
