//! Blobs into buckets as image bundles over the internal API: what `karri_proto::internal::instance_bundles` calls.
//!
//! ```text
//!   blob ► raw disk ► parts, durable and nobody's ─┐
//!                     manifest, the same ──────────┴─► all of them objects, in one transaction
//! ```
//!
//! Until the last step, whatever ends it leaves nothing. That step is not ended by who asks: giving a bundle up waits for
//! it, and says that it was too late.

use super::bundles::{certificates, of_auth, of_fault};
use super::captures::Expected;
use super::s3::S3;
use super::s3::behalf::{Key, Staged, Writer};
use crate::app::bundle::keys::{CloudKey, Secrets};
use crate::app::bundle::manifest::write::{Draft, part_name};
use crate::app::bundle::objects::part_key;
use crate::app::bundle::pack::{Packed, PackedPart, PackedPiece, pack};
use crate::app::bundle::{Certificate, Progress};
use crate::app::export::Exported;
use crate::app::import::{For, Importer};
use crate::app::jobs::{Jobs, Told};
use crate::store::holds::Hold;
use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use futures_util::stream::{self, poll_fn};
use karri_proto::ids::BundleTaskId;
use karri_proto::instance::Digest;
use karri_proto::internal::exports::ExportFormat;
use karri_proto::internal::instance_bundles::{
    self, BundleTarget, CaptureExpected, InstanceBundle, InstanceBundleProgress, InstanceBundleService,
};
use karri_proto::internal::{ApiError, Caller};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

/// A server answers by then, written or not.
const MAKE_WAIT: Duration = Duration::from_secs(2);
/// So many pieces of at most 256 KiB may wait.
const PIECES_WAITING_MAX: usize = 4;
/// Bundles that are remembered as written, for those who have not heard of it.
const WRITTEN_MAX: usize = 256;

pub fn router(desk: InstanceBundleDesk) -> Router {
    instance_bundles::router(Arc::new(desk))
}

#[derive(Clone)]
pub struct InstanceBundleDesk {
    s3: Arc<S3>,
    importer: Importer,
    key: Arc<CloudKey>,
    expected: Expected,
    jobs: Jobs<InstanceBundle, u64>,
    /// Held while the objects of a bundle become visible.
    written: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct Written(VecDeque<(BundleTaskId, u64)>);

impl Written {
    fn parts_of(&self, task: &BundleTaskId) -> Option<u64> {
        self.0.iter().find(|(one, _)| one == task).map(|(_, parts)| *parts)
    }

    fn remember(&mut self, task: BundleTaskId, parts: u64) {
        self.0.push_back((task, parts));
        if self.0.len() > WRITTEN_MAX {
            self.0.pop_front();
        }
    }
}

impl InstanceBundleDesk {
    pub fn new(s3: Arc<S3>, importer: Importer, key: CloudKey, expected: Expected) -> Self {
        let (jobs, written) = (Jobs::default(), Arc::default());
        Self { s3, importer, key: Arc::new(key), expected, jobs, written }
    }

    /// Who writes there, at an object of the bundle.
    async fn writer(&self, target: &BundleTarget, key: &str) -> Result<Writer, ApiError> {
        let at = &target.manifest;
        let writer = match &target.policy {
            Some(policy) => Writer::by_policy(self.s3.clone(), &at.access_key_id, policy, at.address)
                .await
                .map_err(of_fault)?,
            None => {
                let whose = Key { id: &at.access_key_id, session_token: at.session_token.as_ref() };
                Writer::new(self.s3.clone(), whose, at.address).await.map_err(of_auth)?
            }
        };
        writer.at(&at.bucket, key).await.map_err(of_fault)
    }

    /// The copy of a disk cannot be made again: from now on it makes room for nothing, until the cloud controller, which
    /// knows its digest for as long as the task is open, lets it go. One that has made room already is told by who reads it.
    async fn hold(&self, digest: &Digest) -> Result<(), ApiError> {
        let (store, digest) = (self.importer.store().clone(), digest.clone());
        let held = spawn_blocking(move || store.blob_hold(&digest, Hold::Registered)).await;
        held.map_err(ApiError::internal)?.map(drop).map_err(ApiError::internal)
    }

    async fn make(
        self,
        bundle: InstanceBundle,
        request_id: String,
        progress: Progress,
    ) -> Result<u64, ApiError> {
        let writer = self.writer(&bundle.target, &bundle.target.manifest.key).await?; // before any work
        let users = certificates(&self.s3, &bundle.account).await?;
        let whom = For::job(&bundle.account, &request_id);
        let disk = self.importer.export(&bundle.digest, ExportFormat::Raw, whom).await?;
        let _slot = self.importer.slot(whom).await?;
        let staging = Staging { name: name_of(&bundle.target), target: bundle.target.clone(), writer };
        let (all, secrets) = (disk.bytes, Arc::new(Secrets::random()));
        let (pieces, packing) = start_packing(disk, staging.name.clone(), secrets.clone(), progress);
        let (mut staged, parts, packed) = staging.parts(pieces, packing).await?;
        let count = parts.len() as u64;
        let (key, whose, name) = (self.key.clone(), bundle.clone(), staging.name.clone());
        let text = spawn_blocking(move || {
            let (cloud_key, user) = (key.certificate().wrap(&secrets)?, users.last());
            let user_key = user.map(|user: &Certificate| user.wrap(&secrets)).transpose()?;
            let draft = Draft {
                name: &name,
                user: &whose.account,
                machine: &whose.machine,
                bytes: all,
                packed: &packed,
                parts: &parts,
                cloud_key: &cloud_key,
                user_key: user_key.as_ref(),
            };
            draft.write(|signed| key.sign(signed))
        });
        let text = text.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        staged.push(staging.manifest(text).await?);
        self.publish(bundle.task, staged, count).await
    }

    /// Goes on to its end, whoever waits for that.
    async fn publish(&self, task: BundleTaskId, staged: Vec<Staged>, parts: u64) -> Result<u64, ApiError> {
        let mut written = self.written.clone().lock_owned().await;
        let published = tokio::spawn(async move {
            Staged::publish_all(staged).await.map_err(of_fault)?;
            written.remember(task, parts);
            Ok(parts)
        });
        published.await.map_err(ApiError::internal)?
    }
}

/// `disk` of `backups/disk`: what parts are named after.
fn name_of(target: &BundleTarget) -> String {
    target.prefix.rsplit('/').next().unwrap_or_default().to_owned()
}

type Packing = JoinHandle<io::Result<Packed>>;

/// Ends when nobody takes the pieces any more, and the disk's file with it.
fn start_packing(
    disk: Exported,
    name: String,
    secrets: Arc<Secrets>,
    progress: Progress,
) -> (mpsc::Receiver<PackedPiece>, Packing) {
    let (to, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let packing = spawn_blocking(move || {
        let take = |piece| to.blocking_send(piece).map_err(|_| io::Error::other("nobody wants the bundle"));
        pack(&disk.open()?, disk.bytes, &name, &secrets, take, |done, all| progress(done, all))
    });
    (pieces, packing)
}

/// Where the objects of a bundle go.
struct Staging {
    name: String,
    target: BundleTarget,
    /// At the manifest.
    writer: Writer,
}

impl Staging {
    async fn parts(
        &self,
        mut pieces: mpsc::Receiver<PackedPiece>,
        packing: Packing,
    ) -> Result<(Vec<Staged>, Vec<PackedPart>, Packed), ApiError> {
        let (mut staged, mut parts) = (Vec::new(), Vec::new());
        while let Some(first) = pieces.recv().await {
            match self.part(parts.len(), first, &mut pieces).await {
                Ok((object, Some(part))) => {
                    staged.push(object);
                    parts.push(part);
                }
                // The thread has broken off, and says why.
                Ok((_, None)) => break,
                Err(error) => return Err(error),
            }
        }
        drop(pieces);
        let packed = packing.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        Ok((staged, parts, packed))
    }

    async fn part(
        &self,
        index: usize,
        first: PackedPiece,
        pieces: &mut mpsc::Receiver<PackedPiece>,
    ) -> Result<(Staged, Option<PackedPart>), ApiError> {
        let at = &self.target.manifest;
        let key = part_key(&at.key, &part_name(&self.name, index));
        let writer = self.writer.clone().at(&at.bucket, &key).await.map_err(of_fault)?;
        let (mut first, mut part) = (Some(first), None);
        let bytes = poll_fn(|cx| {
            let piece = match first.take() {
                Some(piece) => Some(piece),
                None => std::task::ready!(pieces.poll_recv(cx)),
            };
            Poll::Ready(match piece {
                Some(PackedPiece::Bytes(bytes)) => Some(Ok(bytes)),
                Some(PackedPiece::End(end)) => {
                    part = Some(end);
                    None
                }
                None => None,
            })
        });
        let staged = writer.stage(None, bytes, |_| {}).await.map_err(of_fault)?;
        Ok((staged, part))
    }

    async fn manifest(&self, text: String) -> Result<Staged, ApiError> {
        let (length, bytes) = (text.len() as u64, Bytes::from(text));
        let bytes = stream::iter([Ok(bytes)]);
        self.writer.clone().stage(Some(length), bytes, |_| {}).await.map_err(of_fault)
    }
}

#[async_trait]
impl InstanceBundleService for InstanceBundleDesk {
    async fn instance_bundle_inspect(&self, _: &Caller, target: &BundleTarget) -> Result<(), ApiError> {
        let part = part_key(&target.manifest.key, &part_name(&name_of(target), 0));
        self.writer(target, &part).await?;
        self.writer(target, &target.manifest.key).await.map(drop)
    }

    async fn capture_expect(&self, _: &Caller, expected: &CaptureExpected) -> Result<(), ApiError> {
        self.expected.expect(expected)
    }

    async fn instance_bundle_make(
        &self,
        caller: &Caller,
        bundle: &InstanceBundle,
    ) -> Result<InstanceBundleProgress, ApiError> {
        // It may be written just now, by a job that was told already.
        if let Ok(written) = self.written.try_lock()
            && let Some(parts) = written.parts_of(&bundle.task)
        {
            self.jobs.abandon(bundle);
            return Ok(InstanceBundleProgress::Written { parts });
        }
        self.hold(&bundle.digest).await?;
        let start = |progress| self.clone().make(bundle.clone(), caller.request_id.clone(), progress);
        match self.jobs.ask(bundle, MAKE_WAIT, start).await? {
            Told::Working { done, all } => Ok(InstanceBundleProgress::Making { done, all }),
            Told::Over(parts) => {
                let (request_id, task_id, digest) =
                    (&caller.request_id, bundle.task.as_str(), &bundle.digest);
                let (bucket, key) = (&bundle.target.manifest.bucket, &bundle.target.manifest.key);
                tracing::info!(request_id, task_id, %digest, bucket, key, parts, "bundle written");
                Ok(InstanceBundleProgress::Written { parts })
            }
        }
    }

    async fn instance_bundle_abandon(
        &self,
        caller: &Caller,
        bundle: &InstanceBundle,
    ) -> Result<bool, ApiError> {
        tracing::info!(
            request_id = caller.request_id,
            task_id = bundle.task.as_str(),
            "the bundle is no longer wanted"
        );
        self.jobs.abandon(bundle);
        // Whoever has not got to it by now never will.
        Ok(self.written.lock().await.parts_of(&bundle.task).is_some())
    }

    async fn capture_refuse(&self, _: &Caller, task: &BundleTaskId) -> Result<(), ApiError> {
        self.expected.refuse(task);
        Ok(())
    }
}
