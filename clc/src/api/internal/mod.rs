//! The internal API, over mutual TLS: clusters, the operator's command line, joining nodes.

mod admin;
mod cluster;
mod join;
mod signers;
mod story;

use crate::app::App;
use axum::Router;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::{
    Role, admin as admin_api, clusters, join as join_api, signers as signers_api, story as story_api,
};
use std::sync::Arc;

/// One implementation of all internal services, over the running controller.
pub struct Internal {
    app: Arc<App>,
}

pub fn router(app: Arc<App>) -> Router {
    let internal = Arc::new(Internal { app });
    let operator = admin_api::router(internal.clone()).merge(story_api::router(internal.clone()));
    Router::new()
        .merge(guarded(operator, |caller| caller.role == Role::Admin))
        .merge(guarded(clusters::router(internal.clone()), |caller| caller.role == Role::Cc))
        .merge(guarded(signers_api::router(internal.clone()), |caller| caller.role == Role::Walrus))
        // A node has no certificate before it has joined: its token is checked instead.
        .merge(join_api::router(internal))
}
