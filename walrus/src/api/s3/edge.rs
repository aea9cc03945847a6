//! One request from its head to its answer.
//!
//! The hot path makes no task, no map and no extractor; the span, the audit line and the metrics are made
//! here for every operation.

use super::S3;
use super::authenticate::{Head, Identity, adopt_parameters, authenticate};
use super::cors::{self, Page};
use super::cx::{Caller, Cx, Leftover, Request};
use super::logging::{self, Outcome};
use super::post;
use super::reply::{Reply, status};
use super::table::{Incoming, Table};
use super::website;
use crate::app::s3::address::{self, Address, Hosts};
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use karri_proto::aws::s3::{Route, S3Fault, route};
use karri_proto::runtime::server::PeerAddr;
use karri_proto::runtime::spelling::Spelling;
use karri_proto::sign::{Scheme, Verifier};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

/// So much of a body that nobody wants is read, so that the client hears the answer.
const DRAINED_BYTES_MAX: usize = 64 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// As S3 spells them. All others are in lower case there too, such as an object's metadata.
const SPELLED: [&str; 18] = [
    "Accept-Ranges",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Cache-Control",
    "Connection",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "Last-Modified",
    "Location",
    "Server",
];

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
static HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");
static SERVER: HeaderValue = HeaderValue::from_static("Karri");

pub struct Edge {
    pub(super) s3: Arc<S3>,
    pub(super) verifier: Verifier,
    table: Table,
    /// Bytes of documents that may be in memory.
    documents: Arc<Semaphore>,
    ids: AtomicU64,
    host_id: String,
    spelling: Option<Spelling>,
}

/// With the fault that a website's page tells of.
type Answered = (Reply, Option<S3Fault>);

/// What is known of a request when it ends, for the audit line.
#[derive(Default)]
struct Account {
    operation: Option<&'static str>,
    cx: Option<Cx>,
    resource: String,
    request_id: String,
}

impl Edge {
    pub fn new(s3: Arc<S3>, verifier: Verifier, table: Table) -> Self {
        let start = OffsetDateTime::now_utc().unix_timestamp_nanos().unsigned_abs();
        let start = u64::try_from(start % u128::from(u64::MAX)).unwrap_or_default();
        let host_id = format!("{:016x}{:016x}", mixed(start), mixed(u64::from(std::process::id())));
        let documents = Arc::new(Semaphore::new(s3.options.documents_bytes_max));
        let (ids, spelling) = (AtomicU64::new(start), Spelling::of(&SPELLED));
        Self { s3, verifier, table, documents, ids, host_id, spelling }
    }

    fn request_id(&self) -> String {
        format!("{:016X}", mixed(self.ids.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Spreads a counter over all ids (splitmix64): they need to differ, not to be secret.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

pub async fn handle(State(edge): State<Arc<Edge>>, request: axum::extract::Request) -> Response<Body> {
    let request_id = edge.request_id();
    let span = tracing::info_span!("s3", request_id = %request_id);
    async move {
        let started = Instant::now();
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip());
        let head_only = request.method() == Method::HEAD;
        let waits = request.headers().contains_key(header::EXPECT);
        let empty = request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        let mut account = Account { request_id, ..Account::default() };
        let left = Arc::<Leftover>::default();
        let page = edge.page(&request);
        let result = edge.answer(request, peer, left.clone(), &mut account).await;
        let charged = left.is_charged() && result.is_ok();
        let unasked = waits && (empty || result.is_err());
        let (reply, fault) = match result {
            Ok(answer) => answer,
            Err(fault) => (edge.refused(&fault, head_only, &account), Some(fault)),
        };
        let took = started.elapsed();
        edge.audit(&account, fault.as_ref(), peer, took);
        if let Some(cx) = &account.cx {
            let operation = account.operation;
            let wanted = logging::wanted(cx, operation).await;
            logging::note(cx, wanted, Outcome { operation, reply: &reply, fault: fault.as_ref(), took });
        }
        // A client that waits for leave to send has sent nothing, and must not be asked to.
        if !waits && let Some(body) = left.take() {
            drain(body).await;
        }
        let mut response = reply.into_response();
        let headers = response.headers_mut();
        if let Some(page) = page {
            page.tell(&edge.s3, headers).await;
        }
        headers.insert(
            &REQUEST_ID,
            HeaderValue::try_from(account.request_id).unwrap_or(HeaderValue::from_static("")),
        );
        headers
            .insert(&HOST_ID, HeaderValue::try_from(&*edge.host_id).unwrap_or(HeaderValue::from_static("")));
        headers.insert(header::SERVER, SERVER.clone());
        if charged {
            headers.insert("x-amz-request-charged", HeaderValue::from_static("requester"));
        }
        if unasked {
            // botocore takes the next answer on a connection for this one's when it was not told to go on.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(spelling) = &edge.spelling {
            spelling.put(&mut response);
        }
        response
    }
    .instrument(span)
    .await
}

impl Edge {
    async fn answer(
        &self,
        request: axum::extract::Request,
        peer: Option<IpAddr>,
        left: Arc<Leftover>,
        account: &mut Account,
    ) -> Result<Answered, S3Fault> {
        let (parts, body) = request.into_parts();
        account.resource = parts.uri.path().to_owned();
        let now = OffsetDateTime::now_utc();
        let host = host_of(&parts.headers, &parts.uri);
        let guard = Guard { body: Some(body), left: left.clone() };
        let address = self.address(&host, parts.uri.path())?;
        let head = Head {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            host_bucket: address.bucket.as_deref().filter(|_| address.by_host),
            now,
        };
        let form = is_form(&parts.method, &parts.headers, &address);
        let identity = match form || address.website || parts.method == Method::OPTIONS {
            true => Ok(Identity::nobody()),
            false => authenticate(&self.s3, &self.verifier, head).await,
        };
        // Who is turned away is in the log nevertheless.
        let (identity, stranger) = match identity {
            Ok(identity) => (identity, None),
            Err(fault) => (Identity::nobody(), Some(fault)),
        };
        let mut headers = parts.headers;
        if matches!(identity.scheme, Some(Scheme::V4Presigned | Scheme::V2Presigned)) {
            adopt_parameters(&mut headers, parts.uri.query().unwrap_or_default())?;
        }
        let cx: Cx = Arc::new(Request {
            s3: self.s3.clone(),
            method: parts.method,
            uri: parts.uri,
            headers,
            address,
            host,
            caller: identity.caller,
            scheme: identity.scheme,
            peer,
            now,
            request_id: account.request_id.clone(),
            host_id: self.host_id.clone(),
            notes: Arc::default(),
            left,
        });
        account.cx = Some(cx.clone());
        if let Some(fault) = stranger {
            return Err(fault);
        }
        if cx.address.website {
            account.operation = Some("GetWebsitePage");
            return Ok(website::serve(cx).await);
        }
        let query = cx.query()?;
        let routed = route(&cx.rest(&query))?;
        drop(query);
        Ok((self.run(routed, cx, guard, identity.seal, account).await?, None))
    }

    async fn run(
        &self,
        routed: Route,
        cx: Cx,
        mut guard: Guard,
        seal: karri_proto::sign::PayloadSeal,
        account: &mut Account,
    ) -> Result<Reply, S3Fault> {
        match routed {
            Route::Operation(operation) => {
                account.operation = Some(operation.name());
                let run = self.table.get(operation);
                let run = run.ok_or_else(|| S3Fault::not_implemented(operation.name()))?;
                let body = guard.body.take().unwrap_or_default();
                run(cx, Incoming { body, seal, room: self.documents.clone() }).await
            }
            Route::PostObject => {
                account.operation = Some("PostObject");
                let body = guard.body.take().unwrap_or_default();
                post::post_object(cx, &self.verifier, body).await
            }
            Route::Preflight => {
                account.operation = Some("Preflight");
                cors::preflight(&cx).await
            }
        }
    }

    /// A request that a browser makes for another site's page.
    fn page(&self, request: &axum::extract::Request) -> Option<Page> {
        if request.method() == Method::OPTIONS || !request.headers().contains_key(header::ORIGIN) {
            return None;
        }
        let host = host_of(request.headers(), request.uri());
        let address = self.address(&host, request.uri().path()).ok()?;
        Page::of(address.bucket.as_deref(), request.method().as_str(), request.headers())
    }

    fn address(&self, host: &str, path: &str) -> Result<Address, S3Fault> {
        let options = &self.s3.options;
        address::address(host, path, Hosts { api: &options.hosts, website: &options.website_hosts })
    }

    fn refused(&self, fault: &S3Fault, head_only: bool, account: &Account) -> Reply {
        let mut headers = HeaderMap::with_capacity(8);
        for (name, value) in fault.headers() {
            headers.insert(name.clone(), value.clone());
        }
        let status = status(fault.status());
        if head_only || status == StatusCode::NOT_MODIFIED {
            return Reply { status, headers, body: Body::empty() };
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let document = fault.document(&account.resource, &account.request_id, &self.host_id);
        Reply { status, headers, body: Body::from(document) }
    }

    /// One line per request that changed something or was refused; reads are told at debug level.
    fn audit(&self, request: &Account, fault: Option<&S3Fault>, peer: Option<IpAddr>, took: Duration) {
        let action = request.operation.unwrap_or("-");
        let code = fault.map_or("ok", |fault| fault.code().as_str());
        self.s3.metrics.observe("karri_walrus_s3_seconds", &[("operation", action), ("code", code)], took);
        let reads = action.starts_with("Get") || action.starts_with("List") || action.starts_with("Head");
        if fault.is_none() && reads && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let (account, user) = match request.cx.as_ref().map(|cx| &cx.caller) {
            Some(Caller::User(signer)) => (signer.who.account.id.as_str(), signer.who.user.as_str()),
            Some(Caller::Anonymous) | None => ("-", "-"),
        };
        let source = peer.map(|peer| peer.to_string()).unwrap_or_default();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let resource = request.resource.as_str();
        match fault {
            Some(fault) => match fault.cause().filter(|_| fault.status() >= 500) {
                Some(cause) => {
                    tracing::error!(
                        action,
                        account,
                        user,
                        source,
                        code,
                        took_us,
                        resource,
                        cause,
                        "request failed"
                    );
                }
                None => {
                    let reason = fault.message();
                    tracing::info!(
                        action,
                        account,
                        user,
                        source,
                        code,
                        took_us,
                        resource,
                        reason,
                        "request refused"
                    );
                }
            },
            None if reads => {
                tracing::debug!(action, account, user, source, code, took_us, resource, "request")
            }
            None => tracing::info!(action, account, user, source, code, took_us, resource, "request"),
        }
    }
}

/// A body that is not handed on is left for draining.
struct Guard {
    body: Option<Body>,
    left: Arc<Leftover>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            self.left.put(body);
        }
    }
}

fn host_of(headers: &HeaderMap, uri: &http::Uri) -> String {
    let authority = uri.authority().map(|authority| authority.as_str());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.or(host).unwrap_or_default().to_owned()
}

fn is_form(method: &Method, headers: &HeaderMap, address: &Address) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    *method == Method::POST
        && address.bucket.is_some()
        && address.key.is_none()
        && kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

async fn drain(mut body: Body) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, bytes::Bytes::len);
            if seen > DRAINED_BYTES_MAX {
                return;
            }
        }
    };
    // A client that does not send on has heard the answer, or never will.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}
