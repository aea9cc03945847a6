//! Clusters, as they made themselves known.

use super::{Store, StoreError, Tx, counter_next_in_txn};
use karri_proto::internal::clusters::ClusterHello;
use karri_proto::resources::NodeResources;
use sqlx::Row as _;
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub name: String,
    pub hello: ClusterHello,
    /// As last reported.
    pub nodes: Vec<NodeResources>,
}

fn cluster_of(row: &AnyRow) -> Result<Cluster, StoreError> {
    let nodes: String = row.try_get("nodes")?;
    let gateway: String = row.try_get("gateway")?;
    let mode: String = row.try_get("mode")?;
    let tunnels: String = row.try_get("tunnels")?;
    let vlans: String = row.try_get("vlans")?;
    let vlans = Some(vlans).filter(|json| !json.is_empty()).map(|json| serde_json::from_str(&json));
    Ok(Cluster {
        name: row.try_get("name")?,
        hello: ClusterHello {
            zone: row.try_get("zone")?,
            extends: row.try_get::<i64, _>("extends")? != 0,
            url: row.try_get("url")?,
            subnet_cidr: row.try_get("subnet_cidr")?,
            gateway: gateway.parse().map_err(|e| StoreError::corrupt("gateway", e))?,
            mode: serde_json::from_str(&mode).map_err(|e| StoreError::corrupt("network mode", e))?,
            tunnels: serde_json::from_str(&tunnels).map_err(|e| StoreError::corrupt("tunnels", e))?,
            vlans: vlans.transpose().map_err(|e| StoreError::corrupt("VLANs", e))?,
            version: row.try_get("version")?,
        },
        nodes: serde_json::from_str(&nodes).map_err(|e| StoreError::corrupt("list of nodes", e))?,
    })
}

/// Inserts the cluster or brings it up to date; its nodes stay as they are.
pub async fn cluster_put_in_txn(tx: &mut Tx, name: &str, hello: &ClusterHello) -> Result<(), StoreError> {
    counter_next_in_txn(tx, "clusters").await?;
    let statement = "INSERT INTO clusters (name, zone, url, subnet_cidr, gateway, version, mode, extends, \
         tunnels, vlans, nodes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '[]') ON CONFLICT (name) DO UPDATE \
         SET zone = excluded.zone, url = excluded.url, subnet_cidr = excluded.subnet_cidr, \
         gateway = excluded.gateway, version = excluded.version, mode = excluded.mode, \
         extends = excluded.extends, tunnels = excluded.tunnels, vlans = excluded.vlans";
    let mode = serde_json::to_string(&hello.mode).map_err(|e| StoreError::corrupt("network mode", e))?;
    let tunnels = serde_json::to_string(&hello.tunnels).map_err(|e| StoreError::corrupt("tunnels", e))?;
    let vlans = hello.vlans.as_ref().map(serde_json::to_string).transpose();
    let vlans = vlans.map_err(|e| StoreError::corrupt("VLANs", e))?.unwrap_or_default();
    sqlx::query(statement)
        .bind(name)
        .bind(&hello.zone)
        .bind(&hello.url)
        .bind(&hello.subnet_cidr)
        .bind(hello.gateway.to_string())
        .bind(&hello.version)
        .bind(mode)
        .bind(i64::from(hello.extends))
        .bind(tunnels)
        .bind(vlans)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn cluster_list_in_txn(tx: &mut Tx) -> Result<Vec<Cluster>, StoreError> {
    let rows = sqlx::query("SELECT * FROM clusters ORDER BY name").fetch_all(&mut **tx).await?;
    rows.iter().map(cluster_of).collect()
}

impl Store {
    pub async fn cluster_list(&self) -> Result<Vec<Cluster>, StoreError> {
        let rows = sqlx::query("SELECT * FROM clusters ORDER BY name").fetch_all(self.reader()).await?;
        rows.iter().map(cluster_of).collect()
    }

    pub async fn cluster_nodes_update(&self, name: &str, nodes: &[NodeResources]) -> Result<(), StoreError> {
        let nodes = serde_json::to_string(nodes).map_err(|e| StoreError::corrupt("list of nodes", e))?;
        let mut tx = self.begin().await?;
        counter_next_in_txn(&mut tx, "clusters").await?;
        let statement = "UPDATE clusters SET nodes = $1 WHERE name = $2";
        sqlx::query(statement).bind(nodes).bind(name).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
