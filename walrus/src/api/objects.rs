//! The store of objects for its operator, over the internal API: what `karri_proto::internal::objects` calls.
//!
//! One backup at a time. It is carried out whether or not anybody asks how far it is, and ends with the process.

use crate::offline::STORE;
use crate::store::objects::Objects;
use aide::axum::ApiRouter;
use aide::axum::routing::put_with;
use axum::extract::State;
use axum::{Json, Router};
use karri_proto::internal::caller::guarded;
use karri_proto::internal::objects::{
    BACKUP_NEWS_WITHIN, BACKUP_PATH, BackupOrder, BackupProgress, BackupState, BackupStatus,
};
use karri_proto::internal::openapi::{self, named};
use karri_proto::internal::{ApiError, Caller, Role};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug)]
pub struct Backups {
    objects: Objects,
    /// Nothing is copied into it: it would copy itself.
    state_dir: PathBuf,
    status: watch::Sender<Option<BackupStatus>>,
}

impl Backups {
    pub fn new(objects: Objects, state_dir: &Path) -> Self {
        Self { objects, state_dir: state_dir.to_owned(), status: watch::Sender::new(None) }
    }

    /// Begins what is ordered, unless that is under way.
    fn begin(self: &Arc<Self>, order: BackupOrder) -> Result<BackupStatus, ApiError> {
        let directory = PathBuf::from(&order.directory);
        if !directory.is_absolute() {
            return Err(ApiError::invalid(format!("{}: expecting an absolute path", order.directory)));
        }
        if lies_in(&directory, &self.state_dir) {
            let words = "a backup does not go into the state that it is of";
            return Err(ApiError::invalid(format!("{}: {words}", order.directory)));
        }
        let fresh = BackupStatus { directory: order.directory, ..BackupStatus::default() };
        let mut under_way = None;
        self.status.send_if_modified(|status| {
            under_way = status.clone().filter(|status| status.state == BackupState::Running);
            if under_way.is_none() {
                *status = Some(fresh.clone());
            }
            under_way.is_none()
        });
        match under_way {
            Some(status) if status.directory == fresh.directory => Ok(status),
            Some(status) => Err(ApiError::conflict(format!("a backup to {} is under way", status.directory))),
            None => {
                tokio::spawn(self.clone().carry_out(directory));
                Ok(fresh)
            }
        }
    }

    async fn carry_out(self: Arc<Self>, directory: PathBuf) {
        let tell = |progress| self.status.send_modify(|status| show(status, progress));
        let done = self.objects.backup(&directory, &tell).await;
        match &done {
            Ok(copied) => tracing::info!(
                directory = %directory.display(),
                blobs = copied.blobs,
                missing = copied.blobs_missing,
                "the store of objects is copied"
            ),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "the store of objects cannot be copied");
            }
        }
        self.status.send_modify(|status| match done {
            Ok(copied) => {
                show(status, copied);
                if let Some(status) = status {
                    status.state = BackupState::Done;
                }
            }
            Err(error) => {
                if let Some(status) = status {
                    status.state = BackupState::Failed;
                    status.error = Some(error.to_string());
                }
            }
        });
    }
}

fn show(status: &mut Option<BackupStatus>, progress: BackupProgress) {
    if let Some(status) = status {
        status.copied = progress;
    }
}

/// Whether a directory, which need not be there, is below the state or the store, whatever links lead there.
fn lies_in(directory: &Path, state_dir: &Path) -> bool {
    let Some(directory) = resolved(directory) else { return true };
    let states = [state_dir.to_owned(), state_dir.join(STORE)];
    states.iter().filter_map(|state| resolved(state)).any(|state| directory.starts_with(state))
}

/// Without links, as far as it is there. Nothing when it cannot be told.
fn resolved(path: &Path) -> Option<PathBuf> {
    for known in path.ancestors() {
        if let Ok(resolved) = known.canonicalize() {
            let rest = path.strip_prefix(known).ok()?;
            let plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
            return plain.then(|| resolved.join(rest));
        }
    }
    None
}

pub fn router(backups: Arc<Backups>) -> Router {
    guarded(api().with_state(backups).into(), |id| matches!(id.role, Role::Admin))
}

/// What this interface is, for `docs/api`.
pub fn document() -> serde_json::Value {
    openapi::document("The store of objects, for its operator", api)
}

fn api() -> ApiRouter<Arc<Backups>> {
    ApiRouter::new().api_route(
        BACKUP_PATH,
        put_with(handle_begin, named("backup_begin")).get_with(handle_news, named("backup_news")),
    )
}

async fn handle_begin(
    State(backups): State<Arc<Backups>>,
    caller: Caller,
    Json(order): Json<BackupOrder>,
) -> Result<Json<BackupStatus>, ApiError> {
    let status = backups.begin(order)?;
    tracing::info!(request_id = caller.request_id, directory = status.directory, "backup ordered");
    Ok(Json(status))
}

/// At once when the backup has ended, else when a second is over: a copy tells more often than anybody reads.
async fn handle_news(State(backups): State<Arc<Backups>>) -> Result<Json<BackupStatus>, ApiError> {
    let mut status = backups.status.subscribe();
    let ended = status.wait_for(|status| status.as_ref().is_none_or(|one| one.state != BackupState::Running));
    let _ = tokio::time::timeout(BACKUP_NEWS_WITHIN, ended).await;
    let now = backups.status.borrow().clone();
    now.map(Json).ok_or_else(|| ApiError::not_found("no backup was made since the store was started"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_and_no_dots_lead_into_the_state() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for directory in ["state", "disk", "backup"] {
            std::fs::create_dir(path(directory)).unwrap();
        }
        symlink(path("disk"), path("state/s3")).unwrap();
        symlink(path("state"), path("backup/link")).unwrap();
        let lies = |name: &str| lies_in(&path(name), &path("state"));
        for inside in [
            "state",
            "state/new/one",
            "backup/../state/new",
            "backup/link",
            "backup/link/new",
            "disk",
            "disk/new",
            "backup/new/../../state",
        ] {
            assert!(lies(inside), "{inside}");
        }
        for outside in ["backup", "backup/monday", "backup/new/one", "statement", "state/../backup/new"] {
            assert!(!lies(outside), "{outside}");
        }
    }
}
