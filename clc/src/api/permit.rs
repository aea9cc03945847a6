//! What a request asks of the caller's policies, and whether they grant it.
//!
//! Each resource is asked for by itself: what a request tags is in the context of what it tags only.

mod target;

pub use target::Target;

use super::cx::Cx;
use crate::app::identity::Signer;
use karri_proto::aws::{Action, Service};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::policy::{Denied, RequestContext, Verdict};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What an action asks of the caller's policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: any signer may.
    Nothing,
    /// The action, on no resource in particular.
    Action,
    /// The action, on each of these.
    On(Vec<Target>),
    /// The action, which is about these tags, on each of these.
    Tagging(Vec<Target>, Vec<GivenTag>),
}

/// Resources that one request may name. Each is looked up for the policies, so more are refused before that.
const TARGETS_MAX: usize = 1000;

/// A tag's key, and its value unless that does not matter.
pub type GivenTag = (String, Option<String>);

/// The last look at the policies of a handler that looks up what its request touches.
pub async fn permit<A: Action>(cx: &Cx, request: &A, asks: Asks) -> Result<(), Fault> {
    grant(cx, request, asks).await?;
    not_dry(request)
}

/// Ends a request that was only to be tried.
pub fn not_dry<A: Action>(request: &A) -> Result<(), Fault> {
    if request.dry_run() == Some(true) {
        let sentence = "Request would have succeeded, but DryRun flag is set.";
        return Err(Fault::new(FaultCode::DryRunOperation, sentence));
    }
    Ok(())
}

/// Whether the policies allow the action on all that it is about.
pub async fn grant<A: Action>(cx: &Cx, request: &A, asks: Asks) -> Result<(), Fault> {
    within_limit(&asks)?;
    let context = context::<A>(cx, A::NAME);
    match asks {
        Asks::Nothing => Ok(()),
        Asks::Action => decide::<A>(cx, context, "*"),
        Asks::On(targets) => {
            for target in targets {
                let context = tagged(context.clone(), &given(request, &target.kind));
                decide_on::<A>(cx, context, target).await?;
            }
            Ok(())
        }
        Asks::Tagging(targets, tags) => {
            let context = tagged(context, &tags);
            for target in targets {
                decide_on::<A>(cx, context.clone(), target).await?;
            }
            Ok(())
        }
    }
}

fn within_limit(asks: &Asks) -> Result<(), Fault> {
    match asks {
        Asks::On(targets) | Asks::Tagging(targets, _) if targets.len() > TARGETS_MAX => {
            let sentence = format!("At most {TARGETS_MAX} resources can be named in one request");
            Err(Fault::invalid_parameter(sentence))
        }
        _ => Ok(()),
    }
}

async fn decide_on<A: Action>(cx: &Cx, context: RequestContext, target: Target) -> Result<(), Fault> {
    let seen = target.look_up(cx).await?;
    let context = seen.keys.iter().fold(context, |context, (key, value)| context.key(key, value));
    decide::<A>(cx, context, &seen.arn)
}

/// Who tags what the request makes needs CreateTags for it as well, as on EC2.
pub fn grant_tags<A: Action>(cx: &Cx, request: &A) -> Result<(), Fault> {
    let specifications = request.tag_specifications().iter().filter(|one| !one.tags.is_empty());
    // One that names no kind of resource is refused by the handler.
    for kind in specifications.filter_map(|one| one.resource_type.as_deref()) {
        let context = context::<A>(cx, "CreateTags").key("ec2:CreateAction", A::NAME);
        decide::<A>(cx, tagged(context, &given(request, kind)), &cx.arn(kind, "*"))?;
    }
    Ok(())
}

/// The tags that the request gives to resources of that kind.
fn given<A: Action>(request: &A, kind: &str) -> Vec<GivenTag> {
    let of_kind =
        request.tag_specifications().iter().filter(|one| one.resource_type.as_deref() == Some(kind));
    let tags = of_kind.flat_map(|one| &one.tags);
    tags.filter_map(|tag| Some((tag.key.clone()?, Some(tag.value.clone().unwrap_or_default())))).collect()
}

/// What holds for a request whatever it touches. `app::account::policy` lists these keys.
fn context<A: Action>(cx: &Cx, action: &str) -> RequestContext {
    let now = OffsetDateTime::now_utc();
    let context = RequestContext::new(&cx.signer.arn, format!("{}:{action}", A::SERVICE.name()))
        .key("aws:userid", &cx.signer.user_id)
        .key("aws:PrincipalAccount", &cx.signer.account)
        .key("aws:PrincipalArn", &cx.signer.arn)
        .key("aws:PrincipalIsAWSService", "false")
        .key("aws:ViaAWSService", "false")
        .key("aws:CurrentTime", now.format(&Rfc3339).unwrap_or_default())
        .key("aws:EpochTime", now.unix_timestamp().to_string())
        .key("aws:RequestedRegion", &cx.app.region)
        .key("ec2:Region", &cx.app.region)
        .key("aws:SecureTransport", "false"); // the API is served in plain HTTP
    let context = credentials(&cx.signer, context);
    let client = &cx.client;
    let told = [
        ("aws:SourceIp", client.address.map(|address| address.to_string())),
        ("aws:UserAgent", client.user_agent.clone()),
        ("aws:Referer", client.referer.clone()),
    ];
    let told = told.into_iter().filter_map(|(key, value)| Some((key, value?)));
    told.fold(context, |context, (key, value)| context.key(key, value))
}

/// What depends on the kind of the credentials.
fn credentials(signer: &Signer, context: RequestContext) -> RequestContext {
    let context = match signer.is_federated() {
        true => context.key("aws:PrincipalType", "FederatedUser"),
        false => context.key("aws:PrincipalType", "User").key("aws:username", &signer.user),
    };
    let Some(session) = &signer.session else { return context };
    let issued = OffsetDateTime::from_unix_timestamp(session.issued_ms / 1000);
    let issued = issued.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    context.key("aws:TokenIssueTime", issued).key("aws:MultiFactorAuthPresent", "false")
}

fn tagged(context: RequestContext, tags: &[GivenTag]) -> RequestContext {
    tags.iter().fold(context, |context, (key, value)| {
        let context = context.key("aws:TagKeys", key);
        match value {
            Some(value) => context.key(&format!("aws:RequestTag/{key}"), value),
            None => context,
        }
    })
}

fn decide<A: Action>(cx: &Cx, context: RequestContext, arn: &str) -> Result<(), Fault> {
    let context = context.resource(arn);
    let action = &context.action;
    let why = match cx.signer.identity().decide(&context) {
        Verdict::Allow => return Ok(()),
        Verdict::Own(Denied::Explicitly) => "with an explicit deny in an identity-based policy".to_owned(),
        Verdict::Session(Denied::Explicitly) => "with an explicit deny in a session policy".to_owned(),
        Verdict::Own(Denied::Implicitly) => {
            format!("because no identity-based policy allows the {action} action")
        }
        Verdict::Session(Denied::Implicitly) => {
            format!("because no session policy allows the {action} action")
        }
    };
    let on = if arn == "*" { String::new() } else { format!("on resource: {} ", shown_arn(arn)) };
    let subject = format!("User: {} is not authorized to perform: {action} {on}{why}", cx.signer.arn);
    Err(match A::SERVICE {
        Service::Ec2 => {
            let sentence = format!("You are not authorized to perform this operation. {subject}");
            Fault::new(FaultCode::UnauthorizedOperation, sentence)
        }
        Service::Sts => Fault::new(FaultCode::AccessDenied, subject),
    })
}

/// What a client names is told back, but not without end.
fn shown_arn(arn: &str) -> String {
    match arn.rsplit_once('/') {
        Some((start, id)) => format!("{start}/{}", shown(id)),
        None => arn.to_owned(),
    }
}
