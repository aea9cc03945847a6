//! Uploads from a browser's form: the fields stand for headers, and a signed policy for the signature.

use super::authenticate::{expect_scope, signer};
use super::authorise;
use super::cx::{Caller, Cx, Request};
use super::object_put::{Write, keep};
use super::payload::Payload;
use super::receive::{Checksums, receive};
use super::reply::Reply;
use super::upload_facts::{facts, upload_head};
use crate::app::s3::address::checked_key;
use crate::app::s3::condition::WriteConditions;
use crate::app::s3::notification::Created;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::BodyExt as _;
use karri_proto::aws::rest::{RestAction as _, RestRequest};
use karri_proto::aws::s3::{PostResponse, PutObjectRequest, S3Code, S3Fault};
use karri_proto::sign::post::{Form, FormReader, FormStep, PostPolicy, boundary};
use karri_proto::sign::{PayloadSeal, Verifier};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// All fields before the file together may take so many times what a body may stall.
const FIELDS_IDLES_MAX: u32 = 3;

/// Fields that are headers under another name, or none at all.
const OWN: [&str; 8] = [
    "key",
    "acl",
    "policy",
    "signature",
    "awsaccesskeyid",
    "success_action_redirect",
    "success_action_status",
    "tagging",
];

pub async fn post_object(cx: Cx, verifier: &Verifier, mut body: Body) -> Result<Reply, S3Fault> {
    let name = cx.address.bucket.clone().unwrap_or_default();
    let mut reader = FormReader::new(&boundary(cx.header("content-type").unwrap_or_default())?);
    let mut rest = Bytes::new();
    let idle = cx.s3.options.idle;
    let form = tokio::time::timeout(idle * FIELDS_IDLES_MAX, fields(&mut reader, &mut body, &mut rest, idle));
    let form = form.await.map_err(|_| S3Fault::new(S3Code::RequestTimeout))??;
    let (caller, policy) = authenticated(&cx, verifier, &form, &name).await?;
    let key = checked_key(Some(form.key()?.to_owned()))?.unwrap_or_default();
    let headers = headers(&form)?;
    let scheme = form.claim()?.map(|claim| claim.scheme());
    if let Caller::User(signer) = &caller {
        let _ = cx.notes.signer.set(signer.clone());
    }
    let cx: Cx = Arc::new(Request { headers, caller, scheme, ..cx.again() });
    let bucket = authorise::bucket(&cx, &name, None).await?;
    let query = cx.query()?;
    let request = RestRequest {
        method: "PUT",
        bucket: Some(&name),
        key: Some(&key),
        query: &query,
        headers: &cx.headers,
    };
    let request = PutObjectRequest::decode(&request, &[])?;
    let (facts, wanted) = facts(&cx, &bucket, &key, &upload_head!(request)).await?;
    let bytes_max = policy.as_ref().map_or(super::receive::UPLOAD_BYTES_MAX, PostPolicy::bytes_max);
    let file = Arc::new(File { fault: Mutex::new(None), policy });
    let payload = Payload::of_file(&cx, file.body(reader, body, rest, bytes_max, idle))?;
    let received = receive(&cx, payload, &wanted, Checksums::OF_OBJECT).await;
    let received = received.map_err(|fault| file.take().unwrap_or(fault))?;
    if let Some(policy) = &file.policy {
        policy.check_size(received.content.len())?;
    }
    let write = Write { conditions: WriteConditions::default(), created: Created::Post };
    let object = keep(&cx, &bucket, &key, received, facts, &write).await?;
    Ok(answer(&cx, &form, &name, &key, &object.etag.to_string()))
}

/// Reads up to the file; before that is there, nobody knows who asks.
async fn fields(
    reader: &mut FormReader,
    body: &mut Body,
    rest: &mut Bytes,
    idle: Duration,
) -> Result<Form, S3Fault> {
    loop {
        match reader.read(rest)? {
            Some(FormStep::File) => return Ok(reader.form().clone()),
            Some(FormStep::Data(_)) => {}
            None => match more(body, idle).await? {
                Some(bytes) => *rest = bytes,
                None => {
                    reader.finish()?;
                    return Err(S3Fault::new(S3Code::IncorrectNumberOfFilesInPostRequest));
                }
            },
        }
    }
}

async fn more(body: &mut Body, idle: Duration) -> Result<Option<Bytes>, S3Fault> {
    let stalled = |_| S3Fault::new(S3Code::RequestTimeout);
    while let Some(frame) = tokio::time::timeout(idle, body.frame()).await.map_err(stalled)? {
        let frame = frame.map_err(|error| S3Fault::new(S3Code::IncompleteBody).because(error))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

async fn authenticated(
    cx: &Cx,
    verifier: &Verifier,
    form: &Form,
    bucket: &str,
) -> Result<(Caller, Option<PostPolicy>), S3Fault> {
    let Some(claim) = form.claim()? else { return Ok((Caller::Anonymous, None)) };
    expect_scope(&cx.s3, &claim)?;
    let signer = signer(&cx.s3, &claim).await?;
    verifier.verify_form(&claim, &signer.secret, form, cx.now)?;
    let policy = PostPolicy::parse(form.get("policy").unwrap_or_default())?;
    policy.check(form, bucket, cx.now)?;
    Ok((Caller::User(signer), Some(policy)))
}

fn headers(form: &Form) -> Result<HeaderMap, S3Fault> {
    let mut headers = HeaderMap::new();
    for (name, value) in form.fields() {
        let lower = name.to_ascii_lowercase();
        let name = match lower.as_str() {
            "acl" => "x-amz-acl",
            own if OWN.contains(&own) => continue,
            other => other,
        };
        let (name, value) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    if let Some(document) = form.get("tagging") {
        let value = HeaderValue::try_from(tags(document)?);
        headers.insert("x-amz-tagging", value.map_err(|_| S3Fault::new(S3Code::MalformedXml))?);
    }
    Ok(headers)
}

/// A form has its tags as a document.
fn tags(document: &str) -> Result<String, S3Fault> {
    let tagging: karri_proto::aws::s3::Tagging =
        karri_proto::aws::rest::read::document(document.as_bytes(), "Tagging")?;
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs = tagging.tag_set.iter().map(|tag| format!("{}={}", encode(&tag.key), encode(&tag.value)));
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

/// The file within the form, as a body of its own.
struct File {
    /// Why it broke off.
    fault: Mutex<Option<S3Fault>>,
    policy: Option<PostPolicy>,
}

impl File {
    fn take(&self) -> Option<S3Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fail(&self, fault: S3Fault) -> io::Error {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        io::Error::other("the form is wrong")
    }

    fn body(
        self: &Arc<Self>,
        reader: FormReader,
        body: Body,
        rest: Bytes,
        bytes_max: u64,
        idle: Duration,
    ) -> Body {
        let start = (self.clone(), reader, body, rest, 0u64);
        Body::from_stream(unfold(Some(start), move |state| async move {
            let (file, mut reader, mut body, mut rest, mut seen) = state?;
            loop {
                match reader.read(&mut rest) {
                    Ok(Some(FormStep::Data(data))) => {
                        seen += data.len() as u64;
                        let over = file.policy.as_ref().filter(|_| seen > bytes_max);
                        if let Some(fault) = over.and_then(|policy| policy.check_size(seen).err()) {
                            return Some((Err(file.fail(fault.into())), None));
                        }
                        return Some((Ok(data), Some((file, reader, body, rest, seen))));
                    }
                    Ok(Some(FormStep::File)) => {}
                    Ok(None) => match more(&mut body, idle).await {
                        Ok(Some(bytes)) => rest = bytes,
                        Ok(None) => {
                            let end = reader.finish().err()?;
                            return Some((Err(file.fail(end.into())), None));
                        }
                        Err(fault) => return Some((Err(file.fail(fault)), None)),
                    },
                    Err(fault) => return Some((Err(file.fail(fault.into())), None)),
                }
            }
        }))
    }
}

fn answer(cx: &Cx, form: &Form, bucket: &str, key: &str, etag: &str) -> Reply {
    let etag = format!("\"{etag}\"");
    let encoded = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string();
    let location = format!("http://{}/{bucket}/{encoded}", cx.host);
    let redirect = form.get("success_action_redirect").or_else(|| form.get("redirect"));
    if let Some(target) = redirect.filter(|target| target.starts_with("http")) {
        let quoted = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let mark = if target.contains('?') { '&' } else { '?' };
        let target =
            format!("{target}{mark}bucket={}&key={}&etag={}", quoted(bucket), quoted(key), quoted(&etag));
        return Reply::plain(303).header(header::LOCATION, target).header(header::ETAG, etag);
    }
    let status = match form.get("success_action_status") {
        Some("200") => 200,
        Some("201") => 201,
        _ => 204,
    };
    let mut reply = Reply::plain(status);
    if status == 201 {
        let document = PostResponse {
            location: location.clone(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            etag: etag.clone(),
        };
        reply.body = Body::from(document.document());
        reply = reply.header(header::CONTENT_TYPE, "application/xml");
    }
    reply.header(header::ETAG, etag).header(header::LOCATION, location)
}

impl Payload {
    /// A form's file says nothing of its length.
    fn of_file(cx: &Cx, body: Body) -> Result<Self, S3Fault> {
        let mut payload = Payload::new(cx, body, PayloadSeal::Unsigned)?;
        payload.length = None;
        payload.open_ended = true;
        Ok(payload)
    }
}
