//! Metadata: a listener for all instances of the node that are on the flat network, and one for each segment.
//!
//! An instance is known by where it connects to and by the address its connection comes from, which the rules at its
//! port keep it from forging. Whatever it sends is bounded: connections (in all and per instance), header bytes,
//! time. The answer is a pure function of the persisted intent: no other controller is asked.

use crate::app::metadata::{Answer, Request, answer};
use crate::app::record::Record;
use crate::app::token::{KEY_BYTES, TokenKey};
use crate::drive::ports::SegmentListener;
use crate::node::Node;
use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use karri_proto::ids::{InstanceId, NetworkInterfaceId};
use karri_proto::instance::PortSpec;
use karri_proto::network::SegmentTag;
use karri_proto::runtime::pki::write_secret;
use karri_proto::runtime::server::Shutdown;
use rand::RngCore;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;

const CONNECTIONS_MAX: usize = 512;
const CONNECTIONS_PER_INSTANCE_MAX: usize = 32;
/// Of all connections, those that only an instance without any may take.
const CONNECTIONS_RESERVED: usize = 128;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(120);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const TTL_DEFAULT: u32 = 64;
/// More than the id of a port has.
const PORT_BYTES_MAX: usize = 64;

/// The key of tokens: made once, kept readable by us alone.
pub fn token_key(state_dir: &Path) -> anyhow::Result<TokenKey> {
    let file = state_dir.join("metadata.key");
    if let Ok(bytes) = std::fs::read(&file)
        && let Ok(key) = <[u8; KEY_BYTES]>::try_from(bytes)
    {
        return Ok(TokenKey::new(key));
    }
    let mut key = [0; KEY_BYTES];
    rand::thread_rng().fill_bytes(&mut key);
    write_secret(&file, &key).with_context(|| file.display().to_string())?;
    Ok(TokenKey::new(key))
}

struct Server {
    node: Arc<Node>,
    key: TokenKey,
    counts: Mutex<Counts>,
}

/// Open connections.
#[derive(Default)]
struct Counts {
    all: usize,
    per_instance: HashMap<InstanceId, usize>,
}

impl Counts {
    /// A few guests that hold on to all they can get must not leave the others without metadata.
    fn claim(&mut self, id: &InstanceId) -> bool {
        let own = self.per_instance.get(id).copied().unwrap_or_default();
        let most = if own == 0 { CONNECTIONS_MAX } else { CONNECTIONS_MAX - CONNECTIONS_RESERVED };
        if own >= CONNECTIONS_PER_INSTANCE_MAX || self.all >= most {
            return false;
        }
        self.all += 1;
        self.per_instance.insert(id.clone(), own + 1);
        true
    }

    fn release(&mut self, id: &InstanceId) {
        let Some(own) = self.per_instance.get_mut(id) else { return };
        self.all -= 1;
        *own -= 1;
        if *own == 0 {
            self.per_instance.remove(id);
        }
    }
}

pub enum Listeners {
    Bridges {
        flat: TcpListener,
        of_segments: mpsc::UnboundedReceiver<SegmentListener>,
    },
    /// Of guests behind user networking.
    User(UnixListener),
}

/// Runs until shutdown.
pub async fn serve(listeners: Listeners, node: Arc<Node>, key: TokenKey, shutdown: Shutdown) {
    let server = Arc::new(Server { node, key, counts: Mutex::default() });
    match listeners {
        Listeners::Bridges { flat, of_segments } => serve_bridges(server, flat, of_segments, shutdown).await,
        Listeners::User(listener) => accept_piped(server, listener, shutdown).await,
    }
}

async fn serve_bridges(
    server: Arc<Server>,
    flat: TcpListener,
    mut of_segments: mpsc::UnboundedReceiver<SegmentListener>,
    mut shutdown: Shutdown,
) {
    let flat = accept(server.clone(), 0, flat, shutdown.clone());
    tokio::pin!(flat);
    loop {
        let opened = tokio::select! {
            _ = shutdown.wait() => return,
            () = &mut flat => return,
            Some(opened) = of_segments.recv() => opened,
        };
        let SegmentListener { segment, listener, closed } = opened;
        let accepting = accept(server.clone(), segment, listener, shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = accepting => {}
                _ = closed => {}
            }
        });
    }
}

/// Runs until shutdown.
async fn accept(server: Arc<Server>, segment: SegmentTag, listener: TcpListener, mut shutdown: Shutdown) {
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "metadata: cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await; // out of descriptors: give some time to close
                continue;
            }
        };
        // A stranger, or one too many: the connection is closed.
        let Some(record) = server.instance_at(segment, peer) else { continue };
        let Some(claim) = Claim::of(&server, &record.intent.id) else { continue };
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true); // only a matter of speed
            if let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(&stream, 0) {
                connection(stream, Some(&socket), &claim).await;
            }
            drop(claim);
        });
    }
}

/// What `pipe` passes on. Runs until shutdown.
async fn accept_piped(server: Arc<Server>, listener: UnixListener, mut shutdown: Shutdown) {
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(piped(server.clone(), stream))),
            Err(error) => {
                tracing::warn!(%error, "metadata: cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn piped(server: Arc<Server>, mut stream: UnixStream) {
    let port = tokio::time::timeout(HEADER_TIMEOUT, first_line(&mut stream)).await;
    let Ok(Some(port)) = port else { return };
    let Some(record) = server.instance_with(&port) else { return };
    let Some(claim) = Claim::of(&server, &record.intent.id) else { return };
    connection(stream, None, &claim).await;
}

/// Byte by byte: what comes after it is the guest's.
async fn first_line(stream: &mut UnixStream) -> Option<NetworkInterfaceId> {
    let mut line = Vec::new();
    while line.len() < PORT_BYTES_MAX {
        match stream.read_u8().await.ok()? {
            b'\n' => return String::from_utf8(line).ok()?.parse().ok(),
            byte => line.push(byte),
        }
    }
    None
}

impl Server {
    /// The instance whose port may send from this address.
    fn instance_at(&self, segment: SegmentTag, peer: SocketAddr) -> Option<Arc<Record>> {
        let IpAddr::V4(address) = peer.ip() else { return None };
        let owns = |record: &Record| {
            holds_address(record, segment, address) && self.node.is_plugged(&record.intent.id)
        };
        self.node.store.records().into_iter().find(|record| owns(record))
    }

    fn instance_with(&self, port: &NetworkInterfaceId) -> Option<Arc<Record>> {
        let has = |record: &Record| {
            record.holds_images() && record.intent.spec.ports.iter().any(|own| own.id == *port)
        };
        self.node.store.records().into_iter().find(|record| has(record))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds_address(record: &Record, segment: SegmentTag, address: Ipv4Addr) -> bool {
    let is_it = |port: &PortSpec| port.segment == segment && port.addresses().any(|(own, _)| own == address);
    record.holds_images() && record.intent.spec.ports.iter().any(is_it)
}

/// One of an instance's connections.
struct Claim {
    server: Arc<Server>,
    id: InstanceId,
}

impl Claim {
    fn of(server: &Arc<Server>, id: &InstanceId) -> Option<Self> {
        let granted = server.lock().claim(id);
        granted.then(|| Self { server: server.clone(), id: id.clone() })
    }

    fn answer(&self, request: &hyper::Request<Incoming>) -> Option<(Answer, u8)> {
        let record = self.server.node.store.record(&self.id)?;
        let text = |headers: &HeaderMap, name: &str| -> Option<String> {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = request.headers();
        let token = text(headers, "x-aws-ec2-metadata-token");
        let token_ttl = text(headers, "x-aws-ec2-metadata-token-ttl-seconds");
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let request = Request {
            method: request.method().as_str(),
            target,
            token: token.as_deref(),
            token_ttl: token_ttl.as_deref(),
            forwarded: headers.contains_key("x-forwarded-for"),
        };
        let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
        let answer = answer(&record.intent, &self.server.key, &request, now);
        let status = answer.status.to_string();
        self.server.node.metrics.count("karri_nc_metadata_requests_total", &[("status", &status)]);
        Some((answer, record.intent.spec.metadata.hop_limit))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.server.lock().release(&self.id);
    }
}

/// `socket`: where packets have hops to count.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, socket: Option<&OwnedFd>, claim: &Claim) {
    let service = service_fn(move |request: hyper::Request<Incoming>| async move {
        Ok::<_, Infallible>(match claim.answer(&request) {
            Some((answer, hop_limit)) => {
                if let Some(socket) = socket {
                    set_hops(socket, answer.token_ttl.is_some().then_some(hop_limit));
                }
                response(answer)
            }
            None => empty(StatusCode::NOT_FOUND), // terminated while it was connected
        })
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .half_close(true) // "printf … | nc" has asked all that it will, and waits for the answer
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME_MAX, served).await {
        tracing::debug!(instance_id = %claim.id, %error, "metadata connection ended");
    }
}

/// A token goes no further than the instance allows; everything else as far as it likes, as on EC2.
fn set_hops(socket: &OwnedFd, hop_limit: Option<u8>) {
    let ttl = hop_limit.map_or(TTL_DEFAULT, |hops| u32::from(hops.max(1)));
    if let Err(error) = rustix::net::sockopt::set_ip_ttl(socket, ttl) {
        tracing::debug!(%error, "the hop limit cannot be set");
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut builder = Response::builder()
        .status(answer.status)
        .header("content-type", answer.content_type)
        .header("server", "EC2ws");
    if let Some(ttl) = answer.token_ttl {
        builder = builder.header("x-aws-ec2-metadata-token-ttl-seconds", ttl);
    }
    builder
        .body(Full::new(Bytes::from(answer.body)))
        .unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> InstanceId {
        format!("i-{number:08x}").parse().unwrap()
    }

    #[test]
    fn an_address_is_an_instances_on_its_own_segment_alone() {
        let mut intent = crate::app::sample::intent();
        intent.spec.ports[0].segment = 0x1001;
        let address = intent.spec.ports[0].private_ip;
        let record = Record::new(intent, 5);
        assert!(holds_address(&record, 0x1001, address));
        assert!(!holds_address(&record, 0x1002, address) && !holds_address(&record, 0, address));
        assert!(!holds_address(&record, 0x1001, Ipv4Addr::new(172, 31, 0, 6)));
    }

    #[test]
    fn guests_that_hold_all_they_can_get_leave_room_for_the_others() {
        let mut counts = Counts::default();
        for number in 0..100 {
            while counts.claim(&id(number)) {}
        }
        assert!(counts.all < CONNECTIONS_MAX && counts.claim(&id(500)), "{}", counts.all);
        assert!(!counts.claim(&id(0)));
        for number in 0..=500 {
            (0..CONNECTIONS_PER_INSTANCE_MAX).for_each(|_| counts.release(&id(number)));
        }
        assert_eq!((counts.all, counts.per_instance.len()), (0, 0));
    }
}
