//! The handler table. A request type names its action and its answer, so the compiler checks each line.
//!
//! What every action shares is done here, once: decoding, the policy check, dry runs of reads, encoding.

use super::answer::Reply;
use super::cx::Cx;
use super::permit::{self, Asks, grant, grant_tags};
use futures_util::future::BoxFuture;
use karri_proto::aws::envelope;
use karri_proto::aws::{Action, Params, Service, decode};
use karri_proto::fault::Fault;
use std::collections::HashMap;
use std::future::Future;

/// For actions that are about no resource in particular.
pub fn action_alone<A>(_: &Cx, _: &A) -> Asks {
    Asks::Action
}

type Run = Box<dyn Fn(Cx, Params) -> BoxFuture<'static, Result<Reply, Fault>> + Send + Sync>;

#[derive(Default)]
pub struct Table {
    lines: HashMap<Service, HashMap<&'static str, Run>>,
}

impl Table {
    /// Serves an action that changes nothing. `asks` says which permission it takes. A dry run is carried out and
    /// not told, so that it is refused what the request would be.
    #[must_use]
    pub fn on<A, F, Answer>(self, handler: F, asks: fn(&Cx, &A) -> Asks) -> Self
    where
        A: Action,
        F: Fn(Cx, A) -> Answer + Send + Sync + Copy + 'static,
        Answer: Future<Output = Result<A::Output, Fault>> + Send + 'static,
    {
        self.line::<A>(Box::new(move |cx, params| {
            Box::pin(async move {
                let request = admit::<A>(&cx, params, asks).await?;
                let (version, request_id) = (cx.version, cx.request_id.clone());
                let tried = permit::not_dry(&request);
                let output = handler(cx, request).await?;
                tried?;
                Ok(Reply::whole(envelope::answer::<A>(&output, version, &request_id)))
            })
        }))
    }

    /// Serves an action that changes something. `asks` says which permission it takes as far as that is known
    /// before anything is looked up. The handler ends dry runs, when all is checked and nothing done, with
    /// `permit::not_dry`; or with `permit::permit` when it had to find out what the request touches.
    #[must_use]
    pub fn on_change<A, F, Answer>(self, handler: F, asks: fn(&Cx, &A) -> Asks) -> Self
    where
        A: Action,
        F: Fn(Cx, A) -> Answer + Send + Sync + Copy + 'static,
        Answer: Future<Output = Result<A::Output, Fault>> + Send + 'static,
    {
        self.line::<A>(Box::new(move |cx, params| {
            Box::pin(async move {
                let request = admit::<A>(&cx, params, asks).await?;
                let (version, request_id) = (cx.version, cx.request_id.clone());
                let output = handler(cx, request).await?;
                Ok(Reply::whole(envelope::answer::<A>(&output, version, &request_id)))
            })
        }))
    }

    /// As `on`, for a handler that keeps encoded answers.
    #[must_use]
    pub fn on_encoded<A, F, Answer>(self, handler: F, asks: fn(&Cx, &A) -> Asks) -> Self
    where
        A: Action,
        F: Fn(Cx, A) -> Answer + Send + Sync + Copy + 'static,
        Answer: Future<Output = Result<Vec<axum::body::Bytes>, Fault>> + Send + 'static,
    {
        self.line::<A>(Box::new(move |cx, params| {
            Box::pin(async move {
                let request = admit::<A>(&cx, params, asks).await?;
                let (version, request_id) = (cx.version, cx.request_id.clone());
                let tried = permit::not_dry(&request);
                let body = handler(cx, request).await?;
                tried?;
                Ok(Reply::around::<A>(body, version, &request_id))
            })
        }))
    }

    fn line<A: Action>(mut self, run: Run) -> Self {
        self.lines.entry(A::SERVICE).or_default().insert(A::NAME, run);
        self
    }

    pub fn get(&self, service: Service, action: &str) -> Option<(&'static str, &Run)> {
        self.lines.get(&service)?.get_key_value(action).map(|(name, run)| (*name, run))
    }

    /// The names of all served actions of a service, sorted.
    pub fn actions(&self, service: Service) -> Vec<&'static str> {
        let mut names: Vec<_> =
            self.lines.get(&service).into_iter().flatten().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }
}

/// Decodes and checks the policies.
async fn admit<A: Action>(cx: &Cx, params: Params, asks: fn(&Cx, &A) -> Asks) -> Result<A, Fault> {
    let request: A = decode(params)?;
    grant(cx, &request, asks(cx, &request)).await?;
    grant_tags(cx, &request)?;
    Ok(request)
}
