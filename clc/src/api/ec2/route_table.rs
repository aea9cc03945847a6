//! Route tables.

mod change;
mod filter;
mod shape;

pub use change::{
    associate_asks, associate_route_table, create_asks, create_route, create_route_asks, create_route_table,
    delete_asks, delete_route, delete_route_asks, delete_route_table, disable_propagation_asks,
    disable_vgw_route_propagation, disassociate_asks, disassociate_route_table, enable_propagation_asks,
    enable_vgw_route_propagation, replace_association_asks, replace_route, replace_route_asks,
    replace_route_table_association,
};

use super::listing::{absent, ids_or_page, named, page};
use crate::api::cx::{Answer, Cx};
use crate::app::tag::Taggable;
use karri_proto::aws::ec2::{DescribeRouteTablesRequest, DescribeRouteTablesResult, RouteTable};
use karri_proto::fault::FaultCode;
use karri_proto::ids::RouteTableId;
use shape::Shapes;

pub async fn describe_route_tables(
    cx: Cx,
    request: DescribeRouteTablesRequest,
) -> Answer<DescribeRouteTablesResult> {
    ids_or_page(&request.route_table_ids, request.max_results, "routeTableIdSet")?;
    for id in &request.route_table_ids {
        id.parse::<RouteTableId>()?;
    }
    let rows = cx.app.store.route_table_list(cx.account()).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidRouteTableIdNotFound, "routeTable ID", ids);
    let rows = named(&request.route_table_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::RouteTable).await?;
    let shapes = Shapes::read(&cx, cx.account()).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        shapes.table(row, &tags)
    });
    let key = |table: &RouteTable| table.route_table_id.clone().unwrap_or_default();
    let (route_tables, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeRouteTablesResult { next_token, route_tables })
}
