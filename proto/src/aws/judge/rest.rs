//! The judge's questions about S3: whole requests in, whole answers out.

use super::{Dice, Dump, Sample};
use crate::aws::rest::{self, Answer, Metadata, Query, RestAction, RestFault, RestRequest};
use crate::aws::s3::{self, Operation, Route, S3Code, S3Fault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

pub(super) fn reply(question: &Value) -> Value {
    let text = |key: &str| question[key].as_str().unwrap_or_default();
    match text("do") {
        "actions" => json!(s3::ACTIONS),
        "ask" => ask(question).unwrap_or_else(|fault| {
            json!({ "fault": { "code": fault.code().as_str(), "message": fault.message(), "cause": fault.cause() } })
        }),
        "answer" => answer(text("action"), question["seed"].as_u64().unwrap_or_default()),
        "fault" => {
            let code = S3Code::from_wire(text("code")).unwrap_or(S3Code::InternalError);
            json!(S3Fault::new(code).with("Key", text("key")).document("/", "the-request-id", "the-host-id"))
        }
        other => json!({ "unknown": other }),
    }
}

fn ask(question: &Value) -> Result<Value, S3Fault> {
    let text = |key: &str| question[key].as_str().unwrap_or_default();
    let (path, query) = text("target").split_once('?').unwrap_or((text("target"), ""));
    let path = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = path.split_once('/').map_or((path, None), |(bucket, key)| (bucket, Some(key)));
    let (bucket, key) = (decoded(bucket), key.map(decoded));
    let mut headers = HeaderMap::new();
    for (name, value) in question["headers"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let pair = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()));
        let (Ok(name), Ok(value)) = pair else {
            return Err(S3Fault::internal(format!("header {name}: {value}")));
        };
        headers.append(name, value);
    }
    let body = STANDARD.decode(text("body")).unwrap_or_default();
    let request = RestRequest {
        method: text("method"),
        bucket: Some(bucket.as_str()).filter(|bucket| !bucket.is_empty()),
        key: key.as_deref(),
        query: &Query::parse(query)?,
        headers: &headers,
    };
    match s3::route(&request)? {
        Route::Operation(operation) => {
            let value = s3::generated::judge::ask(operation, &request, &body)?;
            Ok(json!({ "operation": operation.name(), "value": value }))
        }
        other => Ok(json!({ "operation": format!("{other:?}"), "value": {} })),
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn answer(action: &str, seed: u64) -> Value {
    let Some(operation) = Operation::ALL.iter().find(|operation| operation.name() == action) else {
        return Value::Null;
    };
    let (answer, value) = s3::generated::judge::answer(*operation, &mut Dice::new(seed));
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))));
    let headers: Map<String, Value> = headers.collect();
    json!({ "status": answer.status, "headers": headers, "body": answer.body, "value": value })
}

/// Reads a request as the edge does, and tells what was seen.
pub fn asked<A: RestAction + Dump>(request: &RestRequest<'_>, body: &[u8]) -> Result<Value, RestFault> {
    A::decode(request, body).map(|request| request.dump())
}

/// A random answer: as it travels, and what is in it.
pub fn answered<A: RestAction<Output: Sample + Dump>>(dice: &mut Dice) -> (Answer, Value) {
    let output = A::Output::sample(dice);
    (rest::answer::<A>(&output), output.dump())
}

impl Sample for () {
    fn sample(_: &mut Dice) -> Self {}
}

impl Dump for () {
    fn dump(&self) -> Value {
        json!({})
    }
}

impl Sample for Metadata {
    fn sample(dice: &mut Dice) -> Self {
        let mut metadata = Self::default();
        for (at, value) in dice.list::<String>().iter().enumerate() {
            metadata.insert(&format!("name-{at}"), format!("h{value}h").as_bytes());
        }
        metadata
    }
}

impl Dump for Metadata {
    fn dump(&self) -> Value {
        self.iter().map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value)))).collect()
    }
}
