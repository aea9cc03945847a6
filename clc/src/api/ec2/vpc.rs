//! VPCs.

mod attribute;
mod change;
mod classic_link;

pub use attribute::{describe_asks, describe_vpc_attribute, modify_asks, modify_vpc_attribute};
pub use change::{
    associate_asks, associate_vpc_cidr_block, create_asks, create_default_vpc, create_vpc, delete_asks,
    delete_vpc, disassociate_vpc_cidr_block,
};
pub use classic_link::{describe_vpc_classic_link, describe_vpc_classic_link_dns_support};

use super::listing::{Shown, absent, ids_or_page, named, page, tell, tell_flag, tell_tags};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::app::tag::{Taggable, Tags};
use crate::app::vpc::{NO_DHCP_OPTIONS, first_association};
use crate::store::vpc::Vpc as Row;
use karri_proto::aws::ec2::{
    DescribeVpcsRequest, DescribeVpcsResult, Tenancy, Vpc, VpcCidrBlockAssociation, VpcCidrBlockState,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::FaultCode;
use karri_proto::ids::VpcId;

const KIND: &str = "vpc";
const ASSOCIATED: &str = "associated";

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

fn association(id: String, cidr: String, state: &str) -> VpcCidrBlockAssociation {
    VpcCidrBlockAssociation {
        association_id: Some(id),
        cidr_block: Some(cidr),
        cidr_block_state: Some(VpcCidrBlockState { state: Some(state.to_owned()), status_message: None }),
    }
}

fn describe(row: Row, tags: &Tags) -> Vpc {
    let first = association(first_association(&row.id), row.cidr.clone(), ASSOCIATED);
    let more =
        row.more_ranges.into_iter().map(|range| association(range.association_id, range.cidr, ASSOCIATED));
    Vpc {
        cidr_block_association_set: [first].into_iter().chain(more).collect(),
        cidr_block: Some(row.cidr),
        dhcp_options_id: Some(row.dhcp_options_id.unwrap_or_else(|| NO_DHCP_OPTIONS.to_owned())),
        instance_tenancy: Some(Tenancy::DEFAULT.to_owned()),
        is_default: Some(row.is_default),
        owner_id: Some(row.account),
        state: Some("available".to_owned()),
        tags: shown(tags),
        vpc_id: Some(row.id),
        ..Default::default()
    }
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
            "cidr" | "cidr-block" | "cidrBlock" => tell(each, &vpc.cidr_block),
            "cidr-block-association.cidr-block" => {
                vpc.cidr_block_association_set.iter().for_each(|one| tell(each, &one.cidr_block));
            }
            "cidr-block-association.association-id" => {
                vpc.cidr_block_association_set.iter().for_each(|one| tell(each, &one.association_id));
            }
            "cidr-block-association.state" => each(ASSOCIATED),
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
