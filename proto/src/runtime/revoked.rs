//! Certificates that are refused although the cloud's CA has signed them: those of nodes that were forgotten, or
//! whose names other machines have taken.
//!
//! The cloud controller knows which they are and tells the controllers that nodes call, again and again. What was told
//! last is kept beside a controller's state, so that it holds after a restart and while the cloud controller is
//! away. It is looked at with every request: connections outlive a revocation.

use crate::internal::ApiError;
use crate::runtime::files::write_durably;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

const FILE: &str = "revoked.json";

/// SHA-256 of the certificate that a caller has shown, in hex; in the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(pub String);

/// A handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Revoked(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    fingerprints: RwLock<HashSet<String>>,
}

impl Revoked {
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let file = state_dir.join(FILE);
        let fingerprints: HashSet<String> = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(io::Error::other(format!("{}: {error}", file.display()))),
        };
        Ok(Self(Arc::new(Inner { file, fingerprints: RwLock::new(fingerprints) })))
    }

    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.0.fingerprints.read().unwrap_or_else(PoisonError::into_inner).contains(&fingerprint.0)
    }

    /// What the cloud controller says that they are now; None: it says nothing of it.
    pub async fn told(&self, fingerprints: Option<Vec<String>>) {
        let Some(fingerprints) = fingerprints else { return };
        let revoked = self.clone();
        let kept = tokio::task::spawn_blocking(move || revoked.replace(fingerprints)).await;
        if let Err(error) = kept.map_err(io::Error::other).and_then(|kept| kept) {
            tracing::warn!(%error, "revoked certificates are not kept: after a restart they are good for a moment");
        }
    }

    /// Refused at once; an error is about keeping it. Blocking when there is something new.
    fn replace(&self, fingerprints: Vec<String>) -> io::Result<()> {
        let told: HashSet<String> = fingerprints.into_iter().collect();
        {
            let mut known = self.0.fingerprints.write().unwrap_or_else(PoisonError::into_inner);
            if *known == told {
                return Ok(());
            }
            known.clone_from(&told);
        }
        tracing::info!(count = told.len(), "other certificates are refused from now on");
        write_durably(&self.0.file, &serde_json::to_vec(&told)?)
    }

    /// `router` for all but callers whose certificate is revoked.
    pub fn guard(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), refuse))
    }
}

async fn refuse(State(revoked): State<Revoked>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Fingerprint>() {
        Some(shown) if revoked.contains(shown) => {
            tracing::info!(certificate = shown.0, path = request.uri().path(), "revoked certificate refused");
            let sentence = "this certificate is revoked: the node was forgotten, or another machine has taken its \
                            name (to let it in again: karri node token, then karri node join)";
            ApiError::forbidden(sentence).into_response()
        }
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_last_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let revoked = Revoked::load(directory.path()).unwrap();
        let one = |name: &str| Fingerprint(name.to_owned());
        assert!(!revoked.contains(&one("a")));
        revoked.replace(vec!["a".into(), "b".into()]).unwrap();
        revoked.replace(vec!["b".into()]).unwrap();
        let again = Revoked::load(directory.path()).unwrap();
        for known in [&revoked, &again] {
            assert_eq!((known.contains(&one("a")), known.contains(&one("b"))), (false, true));
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "half a li").unwrap();
        let error = Revoked::load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("revoked.json"), "{error}");
    }
}
