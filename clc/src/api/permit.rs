//! What a request asks of the caller's policies, and whether they grant it.
//!
//! Each resource is asked for by itself: what a request tags is in the context of what it tags only.

use super::cx::Cx;
use karri_proto::aws::{Action, Service};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::policy::{Decision, RequestContext, evaluate};

/// What an action asks of the caller's policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: any signer may.
    Nothing,
    /// The action, on no resource in particular.
    Action,
    /// The action, on each of these (ARNs).
    On(Vec<String>),
    /// The action, which is about these tags, on each of these (ARNs).
    Tagging(Vec<String>, Vec<GivenTag>),
}

/// A tag's key, and its value unless that does not matter.
pub type GivenTag = (String, Option<String>);

/// The last look at the policies of a handler that looks up what its request touches.
pub fn permit<A: Action>(cx: &Cx, request: &A, asks: Asks) -> Result<(), Fault> {
    grant(cx, request, asks)?;
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
pub fn grant<A: Action>(cx: &Cx, request: &A, asks: Asks) -> Result<(), Fault> {
    let context = context::<A>(cx, A::NAME);
    match asks {
        Asks::Nothing => Ok(()),
        Asks::Action => decide::<A>(cx, context, "*"),
        Asks::On(arns) => arns.iter().try_for_each(|arn| {
            let tags = given(request, kind_of(arn));
            decide::<A>(cx, tagged(context.clone(), &tags), arn)
        }),
        Asks::Tagging(arns, tags) => {
            let context = tagged(context, &tags);
            arns.iter().try_for_each(|arn| decide::<A>(cx, context.clone(), arn))
        }
    }
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

/// `instance` of `arn:aws:ec2:REGION:ACCOUNT:instance/ID`
fn kind_of(arn: &str) -> &str {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    resource.split_once('/').map_or(resource, |(kind, _)| kind)
}

/// The tags that the request gives to resources of that kind.
fn given<A: Action>(request: &A, kind: &str) -> Vec<GivenTag> {
    let of_kind =
        request.tag_specifications().iter().filter(|one| one.resource_type.as_deref() == Some(kind));
    let tags = of_kind.flat_map(|one| &one.tags);
    tags.filter_map(|tag| Some((tag.key.clone()?, Some(tag.value.clone().unwrap_or_default())))).collect()
}

fn context<A: Action>(cx: &Cx, action: &str) -> RequestContext {
    RequestContext::new(&cx.signer.arn, format!("{}:{action}", A::SERVICE.name()))
        .key("aws:username", &cx.signer.user)
        .key("aws:userid", &cx.signer.user_id)
        .key("aws:PrincipalAccount", &cx.signer.account)
        .key("aws:PrincipalArn", &cx.signer.arn)
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
    let why = match evaluate(&cx.signer.policies, &context) {
        Decision::Allow => return Ok(()),
        Decision::ExplicitDeny => "with an explicit deny in an identity-based policy".to_owned(),
        Decision::ImplicitDeny => format!("because no identity-based policy allows the {action} action"),
    };
    let on = if arn == "*" { String::new() } else { format!("on resource: {arn} ") };
    let subject = format!("User: {} is not authorized to perform: {action} {on}{why}", cx.signer.arn);
    Err(match A::SERVICE {
        Service::Ec2 => {
            let sentence = format!("You are not authorized to perform this operation. {subject}");
            Fault::new(FaultCode::UnauthorizedOperation, sentence)
        }
        Service::Sts => Fault::new(FaultCode::AccessDenied, subject),
    })
}
