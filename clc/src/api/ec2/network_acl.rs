//! Network ACLs with their entries.

mod change;
mod filter;
mod shape;

pub use change::{
    create_asks, create_entry_asks, create_network_acl, create_network_acl_entry, delete_asks,
    delete_entry_asks, delete_network_acl, delete_network_acl_entry, replace_association_asks,
    replace_entry_asks, replace_network_acl_association, replace_network_acl_entry,
};

use super::listing::{absent, ids_or_page, named, page};
use crate::api::cx::{Answer, Cx};
use crate::app::tag::Taggable;
use karri_proto::aws::ec2::{DescribeNetworkAclsRequest, DescribeNetworkAclsResult, NetworkAcl};
use karri_proto::fault::FaultCode;
use karri_proto::ids::NetworkAclId;
use shape::Shapes;

pub async fn describe_network_acls(
    cx: Cx,
    request: DescribeNetworkAclsRequest,
) -> Answer<DescribeNetworkAclsResult> {
    ids_or_page(&request.network_acl_ids, request.max_results, "networkAclIdSet")?;
    for id in &request.network_acl_ids {
        id.parse::<NetworkAclId>()?;
    }
    let rows = cx.app.store.network_acl_list(cx.account()).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidNetworkAclIdNotFound, "networkAcl ID", ids);
    let rows = named(&request.network_acl_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::NetworkAcl).await?;
    let mut shapes = Shapes::read(&cx, cx.account()).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        shapes.acl(row, &tags)
    });
    let described = described.collect();
    let key = |acl: &NetworkAcl| acl.network_acl_id.clone().unwrap_or_default();
    let (network_acls, next_token) = page(&request, described, key)?;
    Ok(DescribeNetworkAclsResult { network_acls, next_token })
}
