//! An answer on its way out.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use karri_proto::aws::rest;
use karri_proto::aws::s3::S3Action;

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Reply {
    pub fn of<A: S3Action>(output: &A::Output) -> Self {
        let answer = rest::answer::<A>(output);
        Self { status: status(answer.status), headers: answer.headers, body: Body::from(answer.body) }
    }

    /// With bytes that travel beside the answer's type.
    pub fn with_body<A: S3Action>(output: &A::Output, body: Body) -> Self {
        let answer = rest::answer::<A>(output);
        Self { status: status(answer.status), headers: answer.headers, body }
    }

    pub fn plain(code: u16) -> Self {
        Self { status: status(code), headers: HeaderMap::new(), body: Body::empty() }
    }

    pub fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }

    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

pub fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
