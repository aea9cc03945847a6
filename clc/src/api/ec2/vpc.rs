//! The account's VPC. It has one, its default VPC.

use super::listing::{Shown, absent, ids_or_page, named, page, tell, tell_flag, tell_tags};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::app::tag::{Taggable, Tags};
use crate::store::network::Vpc as Row;
use karri_proto::aws::ec2::{
    AttributeBooleanValue, DescribeVpcAttributeRequest, DescribeVpcAttributeResult, DescribeVpcsRequest,
    DescribeVpcsResult, Vpc, VpcAttributeName, VpcCidrBlockAssociation, VpcCidrBlockState,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::FaultCode;
use karri_proto::ids::VpcId;

pub async fn describe_vpcs(cx: Cx, request: DescribeVpcsRequest) -> Answer<DescribeVpcsResult> {
    ids_or_page(&request.vpc_ids, request.max_results, "vpcSet")?;
    for id in &request.vpc_ids {
        id.parse::<VpcId>()?;
    }
    let rows = cx.app.store.vpc_list(cx.account()).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidVpcIdNotFound, "vpc ID", ids);
    let rows = named(&request.vpc_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::Vpc).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        describe(row, &tags)
    });
    let key = |vpc: &Vpc| vpc.vpc_id.clone().unwrap_or_default();
    let (vpcs, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeVpcsResult { next_token, vpcs })
}

fn describe(row: Row, tags: &Tags) -> Vpc {
    let association = VpcCidrBlockAssociation {
        association_id: Some(row.id.replacen("vpc-", "vpc-cidr-assoc-", 1)),
        cidr_block: Some(row.cidr.clone()),
        cidr_block_state: Some(VpcCidrBlockState {
            state: Some("associated".to_owned()),
            status_message: None,
        }),
    };
    Vpc {
        cidr_block: Some(row.cidr),
        cidr_block_association_set: vec![association],
        dhcp_options_id: Some("default".to_owned()),
        instance_tenancy: Some("default".to_owned()),
        is_default: Some(row.is_default),
        owner_id: Some(row.account),
        state: Some("available".to_owned()),
        tags: shown(tags),
        vpc_id: Some(row.id),
        ..Default::default()
    }
}

pub async fn describe_vpc_attribute(
    cx: Cx,
    request: DescribeVpcAttributeRequest,
) -> Answer<DescribeVpcAttributeResult> {
    let id: VpcId = request.vpc_id.parse()?;
    let rows = cx.app.store.vpc_list(cx.account()).await?;
    if !rows.iter().any(|row| row.id == id.as_str()) {
        return Err(id.not_found());
    }
    let value = |value: bool| Some(AttributeBooleanValue { value: Some(value) });
    let mut result = DescribeVpcAttributeResult { vpc_id: Some(id.into()), ..Default::default() };
    match request.attribute.as_str() {
        VpcAttributeName::ENABLEDNSSUPPORT => result.enable_dns_support = value(true),
        // As in every default VPC: instances have names.
        VpcAttributeName::ENABLEDNSHOSTNAMES => result.enable_dns_hostnames = value(true),
        _ => result.enable_network_address_usage_metrics = value(false),
    }
    Ok(result)
}

impl Filterable for Shown<Vpc> {
    const FILTERS: &'static [&'static str] = &[
        "cidr",
        "cidr-block",
        "cidr-block-association.association-id",
        "cidr-block-association.cidr-block",
        "cidr-block-association.state",
        "cidrBlock",
        "dhcp-options-id",
        "dhcpOptionsId",
        "ipv6-cidr-block-association.association-id",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6-cidr-block-association.ipv6-pool",
        "ipv6-cidr-block-association.state",
        "is-default",
        "isDefault",
        "owner-id",
        "state",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let vpc = &self.0;
        match name {
            "cidr" | "cidr-block" | "cidrBlock" | "cidr-block-association.cidr-block" => {
                tell(each, &vpc.cidr_block);
            }
            "cidr-block-association.association-id" => {
                vpc.cidr_block_association_set.iter().for_each(|one| tell(each, &one.association_id));
            }
            "cidr-block-association.state" => each("associated"),
            "dhcp-options-id" | "dhcpOptionsId" => tell(each, &vpc.dhcp_options_id),
            "is-default" | "isDefault" => tell_flag(each, vpc.is_default),
            "owner-id" => tell(each, &vpc.owner_id),
            "state" => tell(each, &vpc.state),
            "vpc-id" => tell(each, &vpc.vpc_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
