//! The handler table. A request type names its action and its answer, so the compiler checks each line.
//!
//! What every action shares is done here, once: decoding, the policy check, DryRun, encoding.

use super::answer::Reply;
use super::cx::Cx;
use futures_util::future::BoxFuture;
use karri_proto::aws::envelope;
use karri_proto::aws::{Action, Params, Service, decode};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::policy::{RequestContext, evaluate};
use std::collections::HashMap;
use std::future::Future;

/// What an action asks of the caller's policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: any signer may.
    Nothing,
    /// The action, on no resource in particular.
    Action,
    /// The action, on each of these (ARNs).
    On(Vec<String>),
}

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
    authorise(cx, A::SERVICE, A::NAME, asks(cx, &request))?;
    if request.dry_run() == Some(true) {
        let sentence = "Request would have succeeded, but DryRun flag is set.";
        return Err(Fault::new(FaultCode::DryRunOperation, sentence));
    }
    Ok(request)
}

fn authorise(cx: &Cx, service: Service, action: &str, asks: Asks) -> Result<(), Fault> {
    let resources = match asks {
        Asks::Nothing => return Ok(()),
        Asks::Action => Vec::new(),
        Asks::On(arns) => arns,
    };
    let action = format!("{}:{action}", service.name());
    let mut context = RequestContext::new(&cx.signer.arn, &action)
        .key("aws:username", &cx.signer.user)
        .key("aws:userid", &cx.signer.user_id)
        .key("aws:PrincipalAccount", &cx.signer.account)
        .key("aws:PrincipalArn", &cx.signer.arn);
    context.resources = resources;
    if evaluate(&cx.signer.policies, &context).is_allowed() {
        return Ok(());
    }
    let subject = format!("User: {} is not authorized to perform: {action}", cx.signer.arn);
    Err(match service {
        Service::Ec2 => {
            let sentence = format!("You are not authorized to perform this operation. {subject}");
            Fault::new(FaultCode::UnauthorizedOperation, sentence)
        }
        Service::Sts => Fault::new(FaultCode::AccessDenied, subject),
    })
}
