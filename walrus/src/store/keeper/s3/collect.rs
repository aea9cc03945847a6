//! Removing what interrupted writers have left at the engine: uploads that were never completed, and objects
//! that could not be removed when they should have been. Which objects no row names is the store's to say.

use super::super::BlobId;
use super::Inner;
use super::engine::Call;
use super::fault::EngineError;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the engine is asked for uploads, unless one is known to be left.
const EVERY: Duration = Duration::from_secs(600);
/// Further ones are found by the next start.
const REMAINS_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub struct Leftovers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Being written by this process, and how often.
    writing: BTreeMap<BlobId, u32>,
    remains: BTreeSet<BlobId>,
    uploads_asked: Option<Instant>,
}

/// A blob is being written: its uploads are nobody's to abort.
#[derive(Debug)]
pub struct Writing(Arc<Mutex<State>>, BlobId);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leftovers {
    pub fn writing(&self, id: BlobId) -> Writing {
        *lock(&self.0).writing.entry(id).or_default() += 1;
        Writing(self.0.clone(), id)
    }

    fn is_written(&self, id: BlobId) -> bool {
        lock(&self.0).writing.contains_key(&id)
    }

    /// It could not be removed.
    pub fn remains(&self, id: BlobId) {
        let mut state = lock(&self.0);
        if state.remains.len() < REMAINS_MAX {
            state.remains.insert(id);
        }
    }

    pub fn removed(&self, id: BlobId) {
        lock(&self.0).remains.remove(&id);
    }

    fn look_soon(&self) {
        lock(&self.0).uploads_asked = None;
    }

    fn is_due(&self) -> bool {
        lock(&self.0).uploads_asked.is_none_or(|at| at.elapsed() > EVERY)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        if let Some(count) = state.writing.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                state.writing.remove(&self.1);
            }
        }
    }
}

pub async fn collect(inner: &Inner) -> io::Result<()> {
    let remains: Vec<BlobId> = lock(&inner.leftovers.0).remains.iter().copied().collect();
    for id in remains {
        remove(inner, &inner.names.key(id)).await?;
        inner.leftovers.removed(id);
    }
    if !inner.leftovers.is_due() {
        return Ok(());
    }
    lock(&inner.leftovers.0).uploads_asked = Some(Instant::now());
    let aborted = abort_uploads(inner).await;
    if aborted.is_err() {
        inner.leftovers.look_soon();
    }
    aborted.map_err(io::Error::from)
}

async fn abort_uploads(inner: &Inner) -> Result<(), EngineError> {
    let mut after: Option<(String, String)> = None;
    loop {
        let place = after.as_ref().map(|(key, id)| (key.as_str(), id.as_str()));
        let page = inner.engine.uploads(inner.names.prefix(), place).await?;
        for upload in &page.uploads {
            // It is noted as being written before it is begun, so what is listed and not noted is nobody's.
            let ours = inner.names.parse(&upload.key).filter(|id| !inner.leftovers.is_written(*id));
            if let Some(id) = ours {
                tracing::info!(blob = %id, "an upload to the engine that was cut short is aborted");
                inner.engine.abort_upload(&upload.key, &upload.id).await?;
            }
        }
        let next = (page.next_key, page.next_id);
        if !page.truncated || after.as_ref() == Some(&next) {
            return Ok(());
        }
        after = Some(next);
    }
}

async fn remove(inner: &Inner, key: &str) -> Result<(), EngineError> {
    match inner.engine.call(&Call::new("DELETE", key.to_owned())).await {
        Ok(_) | Err(EngineError::NoSuchKey) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A writer gave up: its upload goes, and the object if it may have become one.
pub async fn undo(inner: &Inner, key: &str, upload: Option<&str>, asked: bool, writing: Option<Writing>) {
    if let Some(upload) = upload
        && let Err(error) = inner.engine.abort_upload(key, upload).await
    {
        tracing::debug!(key, %error, "an upload that was given up is aborted later");
        inner.leftovers.look_soon();
    }
    if asked
        && let Err(error) = remove(inner, key).await
        && let Some(id) = inner.names.parse(key)
    {
        tracing::debug!(key, %error, "an object that was given up is removed later");
        inner.leftovers.remains(id);
    }
    drop(writing);
}
