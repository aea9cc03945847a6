//! The handler table. A request type names its action and its answer, so the compiler checks each line.
//!
//! What every action shares is done here, once: decoding, the policy check, DryRun, encoding.

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
    /// Serves an action. `asks` says which permission it takes.
    #[must_use]
    pub fn on<A, F, Answer>(self, handler: F, asks: fn(&Cx, &A) -> Asks) -> Self
    where
        A: Action,
        F: Fn(Cx, A) -> Answer + Send + Sync + Copy + 'static,
        Answer: Future<Output = Result<A::Output, Fault>> + Send + 'static,
    {
        self.line::<A>(Box::new(move |cx, params| {
            Box::pin(async move {
                let request = admit::<A>(&cx, params, asks)?;
                let (version, request_id) = (cx.version, cx.request_id.clone());
                let output = handler(cx, request).await?;
                Ok(Reply::whole(envelope::answer::<A>(&output, version, &request_id)))
            })
        }))
    }

    /// As `on`, for a handler that learns only on its way what the request touches: `asks` says what is
    /// known before, and the handler ends its own looking up with `permit::permit`, dry runs included.
    #[must_use]
    pub fn on_looked_up<A, F, Answer>(self, handler: F, asks: fn(&Cx, &A) -> Asks) -> Self
    where
        A: Action,
        F: Fn(Cx, A) -> Answer + Send + Sync + Copy + 'static,
        Answer: Future<Output = Result<A::Output, Fault>> + Send + 'static,
    {
        self.line::<A>(Box::new(move |cx, params| {
            Box::pin(async move {
                let request: A = decode(params)?;
                grant(&cx, &request, asks(&cx, &request))?;
                grant_tags(&cx, &request)?;
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
                let request = admit::<A>(&cx, params, asks)?;
                let (version, request_id) = (cx.version, cx.request_id.clone());
                let body = handler(cx, request).await?;
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

/// Decodes, checks the policies, and ends here when it was only to be tried.
fn admit<A: Action>(cx: &Cx, params: Params, asks: fn(&Cx, &A) -> Asks) -> Result<A, Fault> {
    let request: A = decode(params)?;
    grant(cx, &request, asks(cx, &request))?;
    grant_tags(cx, &request)?;
    permit::not_dry(&request)?;
    Ok(request)
}
