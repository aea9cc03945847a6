//! Internet gateways.

use super::listing::{Shown, absent, ids_or_page, named, page, tell, tell_tags};
use super::tag::{shown, specified};
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::tag::{Taggable, Tags};
use crate::store::internet_gateway::InternetGateway as Row;
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    AttachInternetGatewayRequest, CreateInternetGatewayRequest, CreateInternetGatewayResult,
    DeleteInternetGatewayRequest, DescribeInternetGatewaysRequest, DescribeInternetGatewaysResult,
    DetachInternetGatewayRequest, InternetGateway, InternetGatewayAttachment,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::FaultCode;
use karri_proto::ids::InternetGatewayId;

const KIND: &str = "internet-gateway";

pub fn create_asks(_: &Cx, _: &CreateInternetGatewayRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, "*")])
}

pub async fn create_internet_gateway(
    cx: Cx,
    request: CreateInternetGatewayRequest,
) -> Answer<CreateInternetGatewayResult> {
    let tags = specified(&request.tag_specifications, Taggable::InternetGateway)?;
    let dry = request.dry_run == Some(true);
    let row = cx.app.internet_gateway_create(cx.account(), &tags, dry).await?;
    not_dry(&request)?;
    Ok(CreateInternetGatewayResult { internet_gateway: Some(describe(row, &tags)) })
}

fn both(gateway: &str, vpc: &str) -> Asks {
    Asks::On(vec![Target::new(KIND, gateway), Target::new("vpc", vpc)])
}

pub fn attach_asks(_: &Cx, request: &AttachInternetGatewayRequest) -> Asks {
    both(&request.internet_gateway_id, &request.vpc_id)
}

pub async fn attach_internet_gateway(cx: Cx, request: AttachInternetGatewayRequest) -> Answer<Done> {
    let (gateway, vpc, dry) = (&request.internet_gateway_id, &request.vpc_id, request.dry_run == Some(true));
    cx.app.internet_gateway_attach(cx.caller(), gateway, vpc, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn detach_asks(_: &Cx, request: &DetachInternetGatewayRequest) -> Asks {
    both(&request.internet_gateway_id, &request.vpc_id)
}

pub async fn detach_internet_gateway(cx: Cx, request: DetachInternetGatewayRequest) -> Answer<Done> {
    let (gateway, vpc, dry) = (&request.internet_gateway_id, &request.vpc_id, request.dry_run == Some(true));
    cx.app.internet_gateway_detach(cx.caller(), gateway, vpc, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn delete_asks(_: &Cx, request: &DeleteInternetGatewayRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.internet_gateway_id)])
}

pub async fn delete_internet_gateway(cx: Cx, request: DeleteInternetGatewayRequest) -> Answer<Done> {
    let dry = request.dry_run == Some(true);
    cx.app.internet_gateway_delete(cx.caller(), &request.internet_gateway_id, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub async fn describe_internet_gateways(
    cx: Cx,
    request: DescribeInternetGatewaysRequest,
) -> Answer<DescribeInternetGatewaysResult> {
    ids_or_page(&request.internet_gateway_ids, request.max_results, "internetGatewayIdSet")?;
    for id in &request.internet_gateway_ids {
        id.parse::<InternetGatewayId>()?;
    }
    let rows = cx.app.store.internet_gateway_list(cx.account()).await?;
    let missing =
        |ids: &[&str]| absent(FaultCode::InvalidInternetGatewayIdNotFound, "internetGateway ID", ids);
    let rows = named(&request.internet_gateway_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::InternetGateway).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        describe(row, &tags)
    });
    let key = |one: &InternetGateway| one.internet_gateway_id.clone().unwrap_or_default();
    let (internet_gateways, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeInternetGatewaysResult { internet_gateways, next_token })
}

fn describe(row: Row, tags: &Tags) -> InternetGateway {
    let attachment =
        |vpc| InternetGatewayAttachment { state: Some("available".to_owned()), vpc_id: Some(vpc) };
    InternetGateway {
        attachments: row.vpc_id.map(attachment).into_iter().collect(),
        internet_gateway_id: Some(row.id),
        owner_id: Some(row.account),
        tags: shown(tags),
    }
}

impl Filterable for Shown<InternetGateway> {
    const FILTERS: &'static [&'static str] =
        &["attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let one = &self.0;
        match name {
            "attachment.state" => one.attachments.iter().for_each(|to| tell(each, &to.state)),
            "attachment.vpc-id" => one.attachments.iter().for_each(|to| tell(each, &to.vpc_id)),
            "internet-gateway-id" => tell(each, &one.internet_gateway_id),
            "owner-id" => tell(each, &one.owner_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
