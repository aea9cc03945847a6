//! Answers that may take longer than a client waits for a first byte: copies. One that is not there in time
//! begins with 200 and shows by white space that somebody is at it, as S3's do; what went wrong after that is
//! told in the document.

use super::reply::Reply;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use karri_proto::aws::XmlWriter;
use karri_proto::aws::rest::{PROLOGUE, RestAction, RestOutput as _};
use karri_proto::aws::s3::{S3Action, S3Fault};
use std::convert::Infallible;
use std::time::Duration;

/// Clients wait a minute, most of them.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

type Work<A> = BoxFuture<'static, Result<<A as RestAction>::Output, S3Fault>>;

/// # Errors
/// Those of `work` that come in time.
pub async fn answer<A: S3Action>(
    mut work: Work<A>,
    resource: String,
    silence: Duration,
) -> Result<Reply, S3Fault> {
    match tokio::time::timeout(silence, &mut work).await {
        Ok(done) => Ok(Reply::of::<A>(&done?)),
        Err(_) => {
            let mut headers = HeaderMap::with_capacity(8);
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            Ok(Reply { status: StatusCode::OK, headers, body: body::<A>(work, resource, silence) })
        }
    }
}

fn body<A: S3Action>(work: Work<A>, resource: String, silence: Duration) -> Body {
    let begun = futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from_static(PROLOGUE.as_bytes()))]);
    let rest = unfold(Some((work, resource)), move |state| async move {
        let (mut work, resource) = state?;
        match tokio::time::timeout(silence, &mut work).await {
            Err(_) => Some((Ok(Bytes::from_static(b" ")), Some((work, resource)))),
            Ok(done) => Some((Ok(document::<A>(done, &resource).into()), None)),
        }
    });
    Body::from_stream(futures_util::StreamExt::chain(begun, rest))
}

fn document<A: S3Action>(done: Result<A::Output, S3Fault>, resource: &str) -> String {
    match done {
        Ok(output) => {
            let mut xml = XmlWriter::with_references();
            output.root(&mut xml);
            xml.finish()
        }
        Err(fault) => {
            let (code, cause) = (fault.code().as_str(), fault.cause());
            tracing::warn!(code, cause, resource, "a request failed after its answer had begun");
            let document = fault.document(resource, "", "");
            document.strip_prefix(PROLOGUE).unwrap_or(&document).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use karri_proto::aws::s3::{CopyObjectOutput, CopyObjectRequest, CopyObjectResult, S3Code};

    const SILENCE: Duration = Duration::from_millis(5);

    /// Done when there has been a sign of life.
    async fn late(done: Result<CopyObjectOutput, S3Fault>) -> (Reply, String) {
        let (tell, told) = tokio::sync::oneshot::channel();
        let work = Box::pin(async move { told.await.unwrap() });
        let mut reply = answer::<CopyObjectRequest>(work, "/b/k".to_owned(), SILENCE).await.unwrap();
        let (mut text, mut tell) = (Vec::new(), Some((tell, done)));
        while let Some(frame) = reply.body.frame().await {
            text.extend_from_slice(frame.unwrap().data_ref().unwrap());
            if text.ends_with(b" ")
                && let Some((tell, done)) = tell.take()
            {
                tell.send(done).ok().unwrap();
            }
        }
        (reply, String::from_utf8(text).unwrap())
    }

    fn copied() -> CopyObjectOutput {
        let copy_object_result =
            CopyObjectResult { etag: Some("\"x\"".into()), ..CopyObjectResult::default() };
        CopyObjectOutput { copy_object_result, version_id: Some("v".into()), ..CopyObjectOutput::default() }
    }

    #[tokio::test]
    async fn what_is_late_shows_signs_of_life_and_is_the_same_document() {
        let work = Box::pin(async { Ok(copied()) });
        let soon = answer::<CopyObjectRequest>(work, "/b/k".to_owned(), SILENCE).await.unwrap();
        assert_eq!(soon.headers["x-amz-version-id"], "v");
        let soon = axum::body::to_bytes(soon.body, 10_000).await.unwrap();
        let (reply, text) = late(Ok(copied())).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers["content-type"], "application/xml");
        let rest = text.strip_prefix(PROLOGUE).unwrap();
        assert!(rest.starts_with(' '), "{text:?}");
        assert_eq!(format!("{PROLOGUE}{}", rest.trim_start()).as_bytes(), soon);
    }

    #[tokio::test]
    async fn what_fails_in_time_is_a_fault_and_later_says_so_in_its_document() {
        let work = Box::pin(async { Err(S3Fault::new(S3Code::SlowDown)) });
        let soon = answer::<CopyObjectRequest>(work, "/b/k".to_owned(), SILENCE).await;
        assert_eq!(soon.unwrap_err().code(), S3Code::SlowDown);
        let (_, text) = late(Err(S3Fault::new(S3Code::SlowDown))).await;
        assert!(text.contains("<Code>SlowDown</Code>") && text.matches("<?xml").count() == 1, "{text}");
    }
}
