//! A handler table in small: what the edge of a controller builds on `Action`, proved to fit.

use crate::aws::ec2::*;
use crate::aws::{Action, Done, Params, Service, WireFault, decode, envelope, sts};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

type Reply = Pin<Box<dyn Future<Output = Result<String, WireFault>> + Send>>;
type Table = BTreeMap<(&'static str, &'static str), Box<dyn Fn(Params) -> Reply + Send + Sync>>;

fn on<A: Action, F>(table: &mut Table, handler: fn(A) -> F)
where
    F: Future<Output = Result<A::Output, WireFault>> + Send + 'static,
{
    let served = move |params: Params| -> Reply {
        Box::pin(async move {
            let version = A::SERVICE.asked_version(&params)?;
            let request: A = decode(params)?;
            if request.dry_run() == Some(true) {
                return Err(WireFault::new("DryRunOperation", "Request would have succeeded"));
            }
            let output = handler(request).await?;
            Ok(envelope::answer::<A>(&output, version, "r-1"))
        })
    };
    table.insert((A::SERVICE.name(), A::NAME), Box::new(served));
}

async fn create_tags(request: CreateTagsRequest) -> Result<Done, WireFault> {
    assert_eq!(request.resources, ["i-1"]);
    Ok(Done)
}

async fn get_caller_identity(
    _: sts::GetCallerIdentityRequest,
) -> Result<sts::GetCallerIdentityResponse, WireFault> {
    Ok(sts::GetCallerIdentityResponse::default())
}

async fn call(service: Service, form: &str) -> Result<String, WireFault> {
    let mut table = Table::new();
    on(&mut table, create_tags);
    on(&mut table, get_caller_identity);
    let params = Params::parse(form.as_bytes())?;
    let action = params.action().ok_or_else(|| WireFault::missing("Action"))?;
    let served = table.iter().find(|((of, name), _)| (*of, *name) == (service.name(), action));
    let (_, served) = served.ok_or_else(|| service.no_such_action(&params))?;
    served(params).await
}

#[tokio::test]
async fn a_request_finds_its_handler_by_name() {
    let form = "Action=CreateTags&Version=2016-11-15&ResourceId.1=i-1&Tag.1.Key=a";
    assert!(call(Service::Ec2, form).await.unwrap().contains("<return>true</return>"));
    let dry = format!("{form}&DryRun=true");
    assert_eq!(call(Service::Ec2, &dry).await.unwrap_err().code, "DryRunOperation");
    assert_eq!(call(Service::Sts, form).await.unwrap_err().code, "InvalidAction");
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    assert!(call(Service::Sts, identity).await.unwrap().contains("<GetCallerIdentityResult>"));
}

#[tokio::test]
async fn each_service_says_in_its_own_words_what_it_does_not_know() {
    let ec2 = "The action BuyTheMoon is not valid for this web service.";
    for (service, form, code, message) in [
        (Service::Ec2, "Action=BuyTheMoon&Version=2016-11-15", "InvalidAction", ec2),
        (
            Service::Sts,
            "Action=BuyTheMoon&Version=2011-06-15",
            "InvalidAction",
            "Could not find operation BuyTheMoon for version 2011-06-15",
        ),
        (
            Service::Sts,
            "Action=GetCallerIdentity&Version=2000-01-01",
            "InvalidAction",
            "Could not find operation GetCallerIdentity for version 2000-01-01",
        ),
        (
            Service::Sts,
            "Action=GetCallerIdentity",
            "InvalidAction",
            "Could not find operation GetCallerIdentity for version NO_VERSION_SPECIFIED",
        ),
    ] {
        let fault = call(service, form).await.unwrap_err();
        assert_eq!((fault.code, fault.message.as_str()), (code, message), "{form}");
    }
}

#[test]
fn services_are_found_by_the_name_in_a_credential_scope() {
    assert_eq!(Service::from_name("sts"), Some(Service::Sts));
    assert_eq!(Service::from_name("EC2"), None);
}

#[test]
fn accessors_show_what_the_model_says() {
    let request = RunInstancesRequest { client_token: Some("t".into()), ..Default::default() };
    assert_eq!(request.client_token(), Some("t"));
    let request =
        DescribeVpcsRequest { max_results: Some(7), next_token: Some("n".into()), ..Default::default() };
    assert_eq!((request.max_results(), request.next_token()), (Some(7), Some("n")));
    let mut output = DescribeVpcsResult::default();
    DescribeVpcsRequest::set_next_token(&mut output, Some("m".into()));
    assert_eq!(output.next_token.as_deref(), Some("m"));
}
