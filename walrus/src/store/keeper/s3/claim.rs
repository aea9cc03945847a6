//! Whose objects these are. Two stores below one prefix would remove each other's bytes as leftovers, so a
//! store puts its mark there and touches nothing where another one's is.

use super::super::StoreFacts;
use super::engine::{Call, Engine};
use super::fault::EngineError;
use super::names::Names;
use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::sync::OnceCell;

/// More is no mark.
const MARK_BYTES_MAX: usize = 200;

#[derive(Debug, Default)]
pub struct Claim {
    /// Nothing: who looks only, and claims nothing.
    store: Mutex<Option<StoreFacts>>,
    settled: OnceCell<()>,
}

#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error(
        "another store's larger objects lie there ({0}); give this one a bucket or a store.prefix of its own"
    )]
    Anothers(String),
    #[error(
        "there are objects of a store, and this one knows none; give it a bucket or a store.prefix of its own"
    )]
    Unknown,
    #[error(
        "this store has larger objects, and there is none; copy them first, or set store.backend as it was"
    )]
    Empty,
}

fn mark(store: StoreFacts) -> String {
    format!("karri walrus store {:016x}\n", store.mark)
}

impl Claim {
    pub fn begin(&self, store: StoreFacts) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }

    fn store(&self) -> Option<StoreFacts> {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until it could, once.
    pub async fn settled(&self, engine: &Engine, names: &Names) -> io::Result<()> {
        let Some(store) = self.store() else { return Ok(()) };
        self.settled.get_or_try_init(|| settle(engine, names, store)).await.copied()
    }

    /// Whether the engine answers, and to whom.
    pub async fn probe(&self, engine: &Engine, names: &Names) -> io::Result<()> {
        let Some(store) = self.store() else { return Ok(()) };
        let found = engine.ask(&Call::new("GET", names.claim())).await;
        match found.map(|answer| text(&answer.body)) {
            Ok(found) if found == mark(store) => Ok(()),
            Ok(found) => Err(refused(engine, names, ClaimError::Anothers(found.trim().to_owned()))),
            // Not yet claimed, since it was away at the start.
            Err(EngineError::NoSuchKey) => self.settled(engine, names).await,
            Err(error) => Err(error.into()),
        }
    }
}

async fn settle(engine: &Engine, names: &Names, store: StoreFacts) -> io::Result<()> {
    let claim = Call::new("GET", names.claim());
    match engine.call(&claim).await {
        Ok(answer) if text(&answer.body) == mark(store) => return Ok(()),
        Ok(answer) => {
            let found = text(&answer.body).trim().to_owned();
            return Err(refused(engine, names, ClaimError::Anothers(found)));
        }
        Err(EngineError::NoSuchKey) => {}
        Err(error) => return Err(error.into()),
    }
    let (keys, _) = engine.list(names.prefix(), None, super::PAGE_MAX).await?;
    let any = keys.iter().any(|key| names.parse(key).is_some());
    match (store.has_blobs, any) {
        (false, true) => return Err(refused(engine, names, ClaimError::Unknown)),
        (true, false) => return Err(refused(engine, names, ClaimError::Empty)),
        _ => {}
    }
    engine.call(&Call::new("PUT", names.claim()).text(mark(store))).await?;
    // Who else put one at the same time reads the same, and one of us goes.
    let found = text(&engine.call(&claim).await?.body);
    if found == mark(store) {
        return Ok(());
    }
    Err(refused(engine, names, ClaimError::Anothers(found.trim().to_owned())))
}

fn refused(engine: &Engine, names: &Names, why: ClaimError) -> io::Error {
    io::Error::other(format!(
        "store.bucket = \"{}\", store.prefix = \"{}\": {why}",
        engine.bucket(),
        names.prefix()
    ))
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(MARK_BYTES_MAX)]).into_owned()
}
