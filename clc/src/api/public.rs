//! The public HTTP edge: any path, GET and POST forms, signed as AWS does.
//!
//! One request passes: read (bounded), find out who signed it (a look in memory, no database), verify,
//! find the handler. The audit line, the span and the metrics are made here for every action.

use super::answer::{Refusal, Reply};
use super::cx::Client;
use super::{Cx, Table};
use crate::app::App;
use crate::app::identity::Signer;
use crate::app::now_ms;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Response, header};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use karri_proto::aws::{Params, Service, sts};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::runtime::server::PeerAddr;
use karri_proto::sign::{Claim, Payload, RequestView, Rules, SignFault, Verifier, header_list};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tracing::Instrument as _;

/// A body that takes longer to arrive is not waited for.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// So much of a body that is too long is read before the answer.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// No key id is longer, and longer ones are not looked up.
const KEY_ID_CHARS_MAX: usize = 128;

/// So much of an answer's message is logged: it may list a thousand ids.
const LOGGED_CHARS_MAX: usize = 512;

pub struct Edge {
    app: Arc<App>,
    table: Table,
    ec2: Verifier,
    query: Verifier,
}

/// What is known of a request when it ends, for the audit line.
#[derive(Default)]
struct Account {
    service: Option<Service>,
    action: Option<&'static str>,
    signer: Option<Arc<Signer>>,
    /// The address that it came from.
    source: String,
}

/// What is left to do for an admitted request.
type Work = BoxFuture<'static, Result<Reply, Fault>>;

pub fn router(app: Arc<App>, table: Table) -> Router {
    let (ec2, query) = (Verifier::new(Rules::EC2), Verifier::new(Rules::QUERY));
    let edge = Arc::new(Edge { app, table, ec2, query });
    Router::new().fallback(handle).with_state(edge)
}

async fn handle(State(edge): State<Arc<Edge>>, request: Request) -> Response<Body> {
    let request_id: Arc<str> = crate::app::request_id().into();
    let span = tracing::info_span!("api", request_id = %request_id);
    async move {
        let started = Instant::now();
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
        let source = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        let mut account = Account { source, ..Account::default() };
        let (service, result) = match edge.admit(request, &request_id, &mut account).await {
            Ok(work) => edge.carry_out(work, account, started).await,
            Err(refusal) => {
                edge.audit(&account, Some(&refusal), started.elapsed());
                (account.service, Err(refusal))
            }
        };
        match result {
            Ok(reply) => reply.into_response(&request_id),
            Err(refusal) => refusal.into_response(service.unwrap_or(Service::Ec2), &request_id),
        }
    }
    .instrument(span)
    .await
}

impl Edge {
    /// Finds out who asks for what. Nothing is changed yet.
    async fn admit(
        &self,
        request: Request,
        request_id: &Arc<str>,
        account: &mut Account,
    ) -> Result<Work, Refusal> {
        let (parts, body) = request.into_parts();
        if !matches!(parts.method, Method::GET | Method::POST) {
            let sentence = "This service takes GET and POST only";
            return Err(Fault::new(FaultCode::UnsupportedOperation, sentence).into());
        }
        let form = read(body, self.app.body_bytes_max, BODY_TIMEOUT).await?;
        let query = Bytes::copy_from_slice(parts.uri.query().unwrap_or_default().as_bytes());
        let posted = parts.method == Method::POST;
        let forms: [&[u8]; 2] = [&query, if posted { &form } else { &[] }];
        let params = Params::parse_all(&forms)?;
        account.service = Some(service_by_version(&params));
        let signer = self.authenticate(&parts, &form, &params, account).await?;
        account.signer = Some(signer.clone());
        let service = account.service.unwrap_or(Service::Ec2);
        let action = params.action().filter(|action| !action.is_empty());
        let missing = || {
            Fault::new(FaultCode::MissingAction, "The request is missing an action or a required parameter.")
        };
        let action = action.ok_or_else(missing)?;
        let version = service.asked_version(&params)?;
        let line = self.table.get(service, action);
        let (name, run) = line.ok_or_else(|| service.no_such_action(&params))?;
        account.action = Some(name);
        let app = self.app.clone();
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host.into();
        let (request_id, client) = (request_id.clone(), Arc::new(Client::of(&parts)));
        let cx = Cx { app, signer, request_id, service, version, host, client, query, form };
        Ok(run(cx, params))
    }

    /// In a task of its own: a client that hangs up must not stop a handler between its commit and what
    /// follows from it, the audit line included.
    async fn carry_out(
        self: Arc<Self>,
        work: Work,
        account: Account,
        started: Instant,
    ) -> (Option<Service>, Result<Reply, Refusal>) {
        let service = account.service;
        let task = async move {
            // A panic must not take the connection's other requests along.
            let done = AssertUnwindSafe(work).catch_unwind().await;
            let result = done.unwrap_or_else(|_| Err(Fault::internal("the handler panicked")));
            let result = result.map_err(Refusal::from);
            self.audit(&account, result.as_ref().err(), started.elapsed());
            result
        };
        let task = tokio::spawn(task.in_current_span());
        (service, task.await.unwrap_or_else(|error| Err(Fault::internal(error).into())))
    }

    async fn authenticate(
        &self,
        parts: &Parts,
        body: &[u8],
        params: &Params,
        account: &mut Account,
    ) -> Result<Arc<Signer>, Refusal> {
        let headers = header_list(&parts.headers);
        let view = RequestView {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &headers,
            payload: Payload::Body(body),
        };
        let by_version = service_by_version(params);
        let claim = karri_proto::sign::parse(&view);
        let claim = claim.map_err(|fault| Refusal::signature(&fault, by_version))?;
        let service = service_of(&claim).unwrap_or(by_version);
        account.service = Some(service);
        self.verify(&claim, &view, service).await.map_err(|e| match e {
            Unverified::Signature(fault) => Refusal::signature(&fault, service),
            Unverified::Fault(fault) => fault.into(),
        })
    }

    async fn verify(
        &self,
        claim: &Claim,
        view: &RequestView<'_>,
        service: Service,
    ) -> Result<Arc<Signer>, Unverified> {
        if claim.access_key_id.len() > KEY_ID_CHARS_MAX {
            return Err(Unverified::Signature(SignFault::UnknownKey));
        }
        let token = claim.session_token.as_deref();
        let found = self.app.identities.find(&self.app.store, &claim.access_key_id, token, now_ms()).await;
        let signer = found.map_err(|e| Unverified::Fault(e.into()))?.map_err(Unverified::Signature)?;
        let regions: Vec<&str> = self.app.regions.iter().map(String::as_str).collect();
        claim.expect_scope(&regions, service.name()).map_err(Unverified::Signature)?;
        let verifier = match service {
            Service::Ec2 => &self.ec2,
            Service::Sts => &self.query,
        };
        let verified = verifier.verify(claim, &signer.secret, view, OffsetDateTime::now_utc());
        verified.map_err(Unverified::Signature)?;
        Ok(signer)
    }

    /// One line per request that changed something or was refused; reads are told at debug level.
    fn audit(&self, request: &Account, refusal: Option<&Refusal>, took: Duration) {
        let (action, source) = (request.action.unwrap_or("-"), request.source.as_str());
        let code = refusal.map_or("ok", |refusal| refusal.code);
        let labels = [("action", action), ("code", code)];
        self.app.metrics.observe("karri_clc_api_seconds", &labels, took);
        let (account, user) = request
            .signer
            .as_ref()
            .map_or(("-", "-"), |signer| (signer.account.as_str(), signer.user.as_str()));
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match refusal {
            Some(Refusal { cause: Some(cause), .. }) => {
                tracing::error!(action, account, user, source, code, took_us, cause, "request failed");
            }
            Some(refusal) => {
                let reason: String = refusal.reason().chars().take(LOGGED_CHARS_MAX).collect();
                tracing::info!(action, account, user, source, code, took_us, reason, "request refused");
            }
            None if action.starts_with("Describe") || action.starts_with("Get") => {
                tracing::debug!(action, account, user, source, code, took_us, "request");
            }
            None => tracing::info!(action, account, user, source, code, took_us, "request"),
        }
    }
}

async fn read(body: Body, limit: usize, patience: Duration) -> Result<Bytes, Fault> {
    match tokio::time::timeout(patience, read_bounded(body, limit)).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Fault::new(
            FaultCode::RequestEntityTooLarge,
            format!("The request body could not be read or is larger than {limit} bytes"),
        )),
        // Not RequestExpired, which says that the clocks differ.
        Err(_) => Err(Fault::new(FaultCode::RequestTimeout, "The request body did not arrive in time")),
    }
}

/// The body, or nothing when it is too long or breaks off. One that is too long is read to its end all the
/// same, unless it has none: most clients hear an answer only after they have sent everything.
async fn read_bounded(body: Body, limit: usize) -> Option<Bytes> {
    let mut stream = body.into_data_stream();
    let (mut kept, mut seen) = (Vec::new(), 0usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.ok()?;
        seen += chunk.len();
        if seen > DRAINED_BYTES_MAX {
            return None;
        }
        if seen <= limit {
            kept.extend_from_slice(&chunk);
        } else {
            kept = Vec::new();
        }
    }
    (seen <= limit).then(|| Bytes::from(kept))
}

enum Unverified {
    Signature(SignFault),
    Fault(Fault),
}

/// Version 4 names the service in its scope. One that is not ours is refused by the scope check.
fn service_of(claim: &Claim) -> Option<Service> {
    [Service::Ec2, Service::Sts]
        .into_iter()
        .find(|s| claim.scope().is_some_and(|scope| scope.service == s.name()))
}

fn service_by_version(params: &Params) -> Service {
    match params.version() {
        Some(version) if sts::VERSIONS.contains(&version) => Service::Sts,
        _ => Service::Ec2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_arrive_is_no_matter_of_clocks() {
        let half = futures_util::stream::iter([Ok::<_, std::io::Error>("Action=")]);
        let body = Body::from_stream(half.chain(futures_util::stream::pending()));
        let fault = read(body, 100, Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(fault.code(), "RequestTimeout");
        assert_eq!(read(Body::from("abc"), 3, BODY_TIMEOUT).await.unwrap(), "abc");
        let long = read(Body::from("abcd"), 3, BODY_TIMEOUT).await.unwrap_err();
        assert_eq!(long.code(), "RequestEntityTooLarge");
    }
}
