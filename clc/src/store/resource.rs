//! Whose is it? The owner of any resource that can be tagged.

use super::{Store, StoreError};
use crate::app::tag::Taggable;
use crate::app::volume;
use sqlx::AnyConnection;

/// The account of a resource that is there; None: there is none, or nothing of its own in the database.
pub async fn resource_account(
    connection: &mut AnyConnection,
    kind: Taggable,
    id: &str,
) -> Result<Option<String>, StoreError> {
    let instance = volume::instance_text(id);
    let (statement, id) = match kind {
        Taggable::Instance => ("SELECT account FROM instances WHERE id = $1 AND purged_at IS NULL", id),
        Taggable::Image => ("SELECT account FROM images WHERE id = $1 AND state <> 'deregistered'", id),
        Taggable::KeyPair => ("SELECT account FROM key_pairs WHERE id = $1", id),
        Taggable::Vpc => ("SELECT account FROM vpcs WHERE id = $1", id),
        Taggable::Subnet => ("SELECT account FROM subnets WHERE id = $1", id),
        Taggable::SecurityGroup => ("SELECT account FROM security_groups WHERE id = $1", id),
        Taggable::NetworkInterface => (
            "SELECT instances.account FROM ports JOIN instances ON ports.instance_id = instances.id \
             WHERE ports.id = $1 UNION SELECT account FROM network_interfaces WHERE id = $1",
            id,
        ),
        Taggable::Volume => {
            ("SELECT account FROM instances WHERE id = $1 AND state <> 'terminated'", instance.as_str())
        }
        Taggable::Snapshot => ("SELECT account FROM snapshots WHERE id = $1 AND deleted_at IS NULL", id),
        Taggable::ImportImageTask | Taggable::ImportSnapshotTask | Taggable::ExportImageTask => {
            ("SELECT account FROM image_tasks WHERE id = $1", id)
        }
        Taggable::DhcpOptions => ("SELECT account FROM dhcp_options WHERE id = $1", id),
        Taggable::InternetGateway => ("SELECT account FROM internet_gateways WHERE id = $1", id),
        Taggable::RouteTable => ("SELECT account FROM route_tables WHERE id = $1", id),
        Taggable::NetworkAcl => ("SELECT account FROM network_acls WHERE id = $1", id),
        Taggable::NatGateway => ("SELECT account FROM nat_gateways WHERE id = $1", id),
        Taggable::ElasticIp => ("SELECT account FROM public_addresses WHERE allocation_id = $1", id),
        Taggable::PrefixList => ("SELECT account FROM prefix_lists WHERE id = $1", id),
        Taggable::SecurityGroupRule => ("SELECT account FROM security_group_rules WHERE id = $1", id),
    };
    Ok(sqlx::query_scalar(statement).bind(id).fetch_optional(connection).await?)
}

/// Whether an image is there and everyone's to see.
pub async fn image_is_public(connection: &mut AnyConnection, id: &str) -> Result<bool, StoreError> {
    let statement =
        "SELECT COUNT(*) FROM images WHERE id = $1 AND is_public <> 0 AND state <> 'deregistered'";
    let count: i64 = sqlx::query_scalar(statement).bind(id).fetch_one(connection).await?;
    Ok(count > 0)
}

impl Store {
    /// As `resource_account`, by itself.
    pub async fn resource_owner(&self, kind: Taggable, id: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.reader().acquire().await?;
        resource_account(&mut connection, kind, id).await
    }
}
