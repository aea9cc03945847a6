//! Serving HTTP: plain for clients and observers, mutual TLS between controllers.

use crate::runtime::health::Health;
use crate::runtime::linger::Lingering;
use crate::runtime::metrics::Metrics;
use crate::runtime::patience::Patient;
use crate::runtime::peers::Peers;
use crate::runtime::revoked::Fingerprint;
use crate::runtime::state_lock::StateLock;
use crate::runtime::tls::{fingerprint_of, identity_of};
use axum::Router;
use axum::routing::get;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::Layer;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// What is read at once; a head is no longer. Up to three of it are alive for each body that comes in.
const READ_BYTES_MAX: usize = 128 << 10;
const CONNECTIONS_MAX: usize = 4096;
/// Of one address: a proxy before us has one for all its clients.
const CONNECTIONS_PER_PEER_MAX: usize = CONNECTIONS_MAX / 2;
/// A peer that takes nothing of its answer for so long is not waited for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stopping server waits for answers under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address a client is calling from, in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// Told to stop once, heard by all. Clones hear too.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Dropping it stops all that listen.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

pub fn shutdown_pair() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone, which is a stop as well.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    pub fn is_stopping(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// Completes at SIGTERM or SIGINT.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// What a controller shows of itself.
#[derive(Debug, Clone)]
pub struct Observed {
    pub metrics: Arc<Metrics>,
    pub health: Health,
    pub certificate_until: OffsetDateTime,
}

impl Observed {
    fn metrics(&self) -> String {
        let left = (self.certificate_until - OffsetDateTime::now_utc()).as_seconds_f64();
        self.metrics.gauge("karri_certificate_expiry_seconds", &[], left.floor());
        self.metrics.render()
    }
}

/// `/healthz` and `/metrics`: for the plain observing listener and for the internal one.
pub fn observe_router(observed: Observed) -> Router {
    let asked = observed.clone();
    Router::new()
        .route("/healthz", get(move || async move { asked.health.answer().await }))
        .route("/metrics", get(move || async move { observed.metrics() }))
}

/// What connections may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    per_peer: usize,
    /// A request's head is here by then, also the next one of a connection.
    head: Duration,
    write: Duration,
}

const LIMITS: Limits = Limits {
    connections: CONNECTIONS_MAX,
    per_peer: CONNECTIONS_PER_PEER_MAX,
    head: HEADER_TIMEOUT,
    write: WRITE_TIMEOUT,
};

/// Serves until told to stop, then lets answers under way finish. `tls: None` is plain HTTP.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    shutdown: Shutdown,
) {
    serve_within(LIMITS, listener, tls, router, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    mut shutdown: Shutdown,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let (slots, peers) = (Arc::new(Semaphore::new(limits.connections)), Peers::new(limits.per_peer));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, peer) = tokio::select! {
            _ = shutdown.wait() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await; // out of descriptors: give some time to close
                    continue;
                }
            },
        };
        let Some(place) = peers.admit(peer.ip()) else {
            tracing::debug!(%peer, "has as many connections as it may");
            continue;
        };
        let _ = stream.set_nodelay(true); // a keep-alive answer would otherwise wait 40 ms for an ACK
        let stream = Lingering::new(Patient::new(stream, limits.write), shutdown.clone());
        let (router, acceptor, shutdown) = (router.clone(), acceptor.clone(), shutdown.clone());
        tokio::spawn(async move {
            connection(stream, peer, acceptor, Http { router, head: limits.head, shutdown }).await;
            drop((slot, place));
        });
    }
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, slots.acquire_many(all)).await;
}

async fn connection(
    stream: Lingering<Patient<TcpStream>>,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    http: Http,
) {
    let http = http.with(PeerAddr(peer));
    let Some(acceptor) = acceptor else { return http.serve(stream).await };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let shown =
                certificate.and_then(|one| Some((identity_of(one)?, Fingerprint(fingerprint_of(one)))));
            match shown {
                Some((identity, fingerprint)) => http.with(identity).with(fingerprint).serve(stream).await,
                None => http.serve(stream).await,
            }
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
    }
}

/// What is served on a connection, and how.
struct Http {
    router: Router,
    head: Duration,
    shutdown: Shutdown,
}

impl Http {
    /// With a value for whoever extracts it.
    fn with<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        let router = Router::new().fallback_service(axum::Extension(value).layer(self.router));
        Self { router, ..self }
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let whole = |request: hyper::Request<Incoming>| request.map(axum::body::Body::new);
        let service = TowerToHyperService::new(tower::util::MapRequest::new(self.router, whole));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head)
            .max_buf_size(READ_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            _ = self.shutdown.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// A handle to something that runs until it is stopped, and holds its directories so long.
pub struct Running {
    locks: Vec<StateLock>,
    trigger: ShutdownTrigger,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    ends: Vec<BoxFuture<'static, ()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("locks", &self.locks)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

impl Running {
    pub fn new(trigger: ShutdownTrigger, lock: StateLock) -> Self {
        Self { locks: vec![lock], trigger, tasks: Vec::new(), ends: Vec::new() }
    }

    pub fn hold(&mut self, lock: StateLock) {
        self.locks.push(lock);
    }

    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    /// Done when nothing runs any more, and nothing is served.
    pub fn at_end(&mut self, end: impl Future<Output = ()> + Send + 'static) {
        self.ends.push(Box::pin(end));
    }

    pub async fn stop(self) {
        self.trigger.fire();
        for task in self.tasks {
            let _ = task.await;
        }
        for end in self.ends {
            end.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn served(limits: Limits) -> (SocketAddr, ShutdownTrigger) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/large", get(|| async { vec![7u8; 64 << 20] }))
            .route("/", get(|| async { "here" }));
        let (trigger, shutdown) = shutdown_pair();
        tokio::spawn(serve_within(limits, listener, None, router, shutdown));
        (address, trigger)
    }

    async fn asked(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let reading = stream.read_to_string(&mut text);
        // One that is refused may end in a reset.
        let _ = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("no answer");
        text
    }

    #[tokio::test]
    async fn who_reads_nothing_of_its_answer_makes_room_for_others() {
        let write = Duration::from_millis(200);
        let (address, _trigger) = served(Limits { connections: 1, per_peer: 9, write, ..LIMITS }).await;
        let _never_read = asked(address, "/large").await;
        assert!(answer(asked(address, "/").await).await.ends_with("here"));
    }

    #[tokio::test]
    async fn who_sends_its_head_slowly_makes_room_for_others() {
        let head = Duration::from_millis(200);
        let (address, _trigger) = served(Limits { connections: 1, head, ..LIMITS }).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx: ").await.unwrap();
        let trickling = tokio::spawn(async move {
            while slow.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(answer(asked(address, "/").await).await.ends_with("here"));
        let given_up = tokio::time::timeout(Duration::from_secs(20), trickling).await;
        given_up.expect("it may go on for ever").unwrap();
    }

    /// Ten gigabytes would be no more than this: nothing of a head is kept beyond what it may have.
    #[tokio::test]
    async fn a_head_without_end_is_refused_before_its_end() {
        let (address, _trigger) = served(LIMITS).await;
        for endless in [vec![b'x'; 1 << 20], b"x: y\r\n".repeat(1 << 17)] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx: ").await.unwrap();
            stream.write_all(&endless).await.unwrap();
            assert!(answer(stream).await.starts_with("HTTP/1.1 431 "));
        }
    }

    /// As a client does that asks for leave (`Expect`) and does not wait for it.
    #[tokio::test]
    async fn who_is_refused_while_sending_hears_why() {
        let (address, _trigger) = served(LIMITS).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = vec![7; 16 << 20];
        let head = format!(
            "PUT /nothing HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        assert!(answer(stream).await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test]
    async fn one_peer_does_not_get_all_connections() {
        let (address, _trigger) = served(Limits { connections: 9, per_peer: 1, ..LIMITS }).await;
        let idle = TcpStream::connect(address).await.unwrap();
        assert_eq!(answer(asked(address, "/").await).await, "");
        drop(idle);
        let again = async {
            while !answer(asked(address, "/").await).await.ends_with("here") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
    }
}
