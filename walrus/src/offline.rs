//! What can be done with a store while no Walrus uses it.

use crate::store::keeper::Keeper;
use crate::store::keeper::local::LocalKeeper;
use crate::store::keeper::s3::{EngineOptions, S3Keeper};
use crate::store::objects::{self, CheckProgress, CheckReport, StoreError};
use karri_proto::runtime::state_lock::{StateLock, StateLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Below Walrus' state directory.
pub const STORE: &str = "s3";

#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("{0}: there is no store of objects")]
    NoStore(PathBuf),
    #[error("{0}: a walrus uses it; stop it first, or check a backup")]
    InUse(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Store { path: PathBuf, source: StoreError },
}

/// Proves a store consistent. `dir` is a Walrus' state directory, its store of objects, or a backup. It is locked
/// meanwhile, and nothing in it is changed. Larger objects are looked for where `engine` says, or in `dir`.
pub async fn check(
    dir: &Path,
    engine: Option<EngineOptions>,
    tell: &(dyn Fn(CheckProgress) + Sync),
) -> Result<(PathBuf, CheckReport), OfflineError> {
    let inner = dir.join(STORE);
    let store = if objects::is_store(&inner) { inner } else { dir.to_owned() };
    if !objects::is_store(&store) {
        return Err(OfflineError::NoStore(dir.to_owned()));
    }
    // A Walrus holds both while it runs; until it has opened its store, only the first.
    let _state = lock(dir)?;
    let _store = if store == dir { None } else { Some(lock(&store)?) };
    let keeper: Box<dyn Keeper> = match engine {
        None => Box::new(LocalKeeper::open_as_is(&store)),
        Some(options) => Box::new(
            S3Keeper::open_as_is(options)
                .map_err(|source| OfflineError::Io { path: store.clone(), source })?,
        ),
    };
    let checked = objects::check(&store, &*keeper, tell).await;
    match checked {
        Ok(report) => Ok((store, report)),
        Err(source) => Err(OfflineError::Store { path: store, source }),
    }
}

fn lock(dir: &Path) -> Result<StateLock, OfflineError> {
    StateLock::take(dir).map_err(|error| match error {
        StateLockError::Held(path) => OfflineError::InUse(path),
        StateLockError::Io { path, source } => OfflineError::Io { path, source },
    })
}
