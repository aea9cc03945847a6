//! Prefix lists as EC2 tells them.

use super::read;
use crate::calls::net;
use crate::model::List;
use crate::support::Client;
use std::collections::BTreeMap;

pub async fn all(client: &Client) -> BTreeMap<String, List> {
    let mut lists = BTreeMap::new();
    for told in read(client, "DescribeManagedPrefixLists", &[]).await.items("prefixListSet") {
        let id = told.text("prefixListId");
        let version = told.text("version").parse().unwrap();
        let list = list(client, &id, version).await;
        lists.insert(id, list);
    }
    lists
}

/// In the state of this version, which is its newest.
pub async fn list(client: &Client, id: &str, version: u32) -> List {
    let entries = read(client, "GetManagedPrefixListEntries", &[("PrefixListId", id)]).await;
    let entries = entries.items("entrySet").iter().map(|entry| net(&entry.text("cidr"))).collect();
    List { version, entries }
}
