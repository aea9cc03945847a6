//! What every VPC has from its beginning, as EC2 gives it: a main route table, a default network ACL, and a default VPC
//! an internet gateway. Their ids have the digits of the VPC's own, as have those of older VPCs (migration 0015).

use crate::store::dhcp_options::DhcpOptions;
use karri_proto::network::{AclEntry, Net4, Traffic};

pub const EVERYWHERE: &str = "0.0.0.0/0";
/// EC2's word for a route that somebody made, as that of a default VPC to the internet.
pub const CREATED_ROUTE: &str = "CreateRoute";

/// The one entry that a default ACL begins with, each way.
pub const ALLOW_ALL: AclEntry =
    AclEntry { number: 100, allow: true, traffic: Traffic::All, range: Net4::EVERYWHERE };

/// The id of what belongs to `whole` from its beginning.
pub fn part_id(prefix: &str, whole: &str) -> String {
    let digits = whole.split_once('-').map_or(whole, |(_, digits)| digits);
    format!("{prefix}-{digits}")
}

/// Of an account, for its new VPCs.
pub fn default_dhcp_options(account: &str) -> DhcpOptions {
    DhcpOptions {
        id: format!("dopt-00000{account}"),
        account: account.to_owned(),
        is_default: true,
        options: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::ids::{DhcpOptionsId, RouteTableId};

    #[test]
    fn ids_of_parts_are_well_formed() {
        let table = part_id(RouteTableId::PREFIX, "vpc-0123456789abcdef0");
        assert_eq!(table, "rtb-0123456789abcdef0");
        assert!(table.parse::<RouteTableId>().is_ok());
        assert!(default_dhcp_options("123456789012").id.parse::<DhcpOptionsId>().is_ok());
    }
}
