//! Managed prefix lists.

mod change;

pub use change::{
    create_asks, create_managed_prefix_list, delete_asks, delete_managed_prefix_list, modify_asks,
    modify_managed_prefix_list, restore_asks, restore_managed_prefix_list_version,
};

use super::listing::{Shown, absent, named, page, tell, tell_tags};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target};
use crate::app::prefix_list::check_kept;
use crate::app::tag::{Taggable, Tags};
use crate::store::prefix_list::PrefixList as Row;
use karri_proto::aws::ec2::{
    DescribeManagedPrefixListsRequest, DescribeManagedPrefixListsResult, DescribePrefixListsRequest,
    DescribePrefixListsResult, GetManagedPrefixListAssociationsRequest,
    GetManagedPrefixListAssociationsResult, GetManagedPrefixListEntriesRequest,
    GetManagedPrefixListEntriesResult, ManagedPrefixList, PrefixList, PrefixListAssociation, PrefixListEntry,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::PrefixListId;

const KIND: &str = "prefix-list";

fn on(id: &str) -> Asks {
    Asks::On(vec![Target::new(KIND, id)])
}

fn missing(ids: &[&str]) -> Fault {
    absent(FaultCode::InvalidPrefixListIdNotFound, "prefix list ID", ids)
}

pub async fn describe_managed_prefix_lists(
    cx: Cx,
    request: DescribeManagedPrefixListsRequest,
) -> Answer<DescribeManagedPrefixListsResult> {
    for id in &request.prefix_list_ids {
        id.parse::<PrefixListId>()?;
    }
    let rows = cx.app.store.prefix_list_list(cx.account()).await?;
    let rows = named(&request.prefix_list_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::PrefixList).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        describe(&cx, row, &tags)
    });
    let key = |list: &ManagedPrefixList| list.prefix_list_id.clone().unwrap_or_default();
    let (prefix_lists, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeManagedPrefixListsResult { next_token, prefix_lists })
}

fn describe(cx: &Cx, row: Row, tags: &Tags) -> ManagedPrefixList {
    ManagedPrefixList {
        address_family: Some(row.family.as_str().to_owned()),
        max_entries: Some(row.max_entries),
        prefix_list_arn: Some(cx.arn_of(&row.account, KIND, &row.id)),
        owner_id: Some(row.account),
        prefix_list_id: Some(row.id),
        prefix_list_name: Some(row.name),
        state: Some(row.state),
        tags: shown(tags),
        version: Some(row.version),
        ..Default::default()
    }
}

/// Those that are the cloud's own, for its services: there are none.
pub async fn describe_prefix_lists(
    _: Cx,
    request: DescribePrefixListsRequest,
) -> Answer<DescribePrefixListsResult> {
    for id in &request.prefix_list_ids {
        id.parse::<PrefixListId>()?;
    }
    let rows = named(&request.prefix_list_ids, Vec::new(), |list: &PrefixList| own_id(list), missing)?;
    let (prefix_lists, next_token) = page(&request, rows, |list| own_id(list).to_owned())?;
    Ok(DescribePrefixListsResult { next_token, prefix_lists })
}

fn own_id(list: &PrefixList) -> &str {
    list.prefix_list_id.as_deref().unwrap_or_default()
}

pub fn entries_asks(_: &Cx, request: &GetManagedPrefixListEntriesRequest) -> Asks {
    on(&request.prefix_list_id)
}

pub async fn get_managed_prefix_list_entries(
    cx: Cx,
    request: GetManagedPrefixListEntriesRequest,
) -> Answer<GetManagedPrefixListEntriesResult> {
    let list = cx.app.prefix_list_seen(cx.caller(), &request.prefix_list_id).await?;
    let version = request.target_version.unwrap_or(list.version);
    check_kept(&list, version)?;
    let entries = cx.app.store.prefix_list_entries(&list.id, version).await?;
    let told = |entry: crate::app::prefix_list::Entry| PrefixListEntry {
        cidr: Some(entry.cidr),
        description: entry.description,
    };
    let key = |entry: &PrefixListEntry| entry.cidr.clone().unwrap_or_default();
    let (entries, next_token) = page(&request, entries.into_iter().map(told).collect(), key)?;
    Ok(GetManagedPrefixListEntriesResult { entries, next_token })
}

pub fn associations_asks(_: &Cx, request: &GetManagedPrefixListAssociationsRequest) -> Asks {
    on(&request.prefix_list_id)
}

pub async fn get_managed_prefix_list_associations(
    cx: Cx,
    request: GetManagedPrefixListAssociationsRequest,
) -> Answer<GetManagedPrefixListAssociationsResult> {
    let list = cx.app.prefix_list_seen(cx.caller(), &request.prefix_list_id).await?;
    let users = cx.app.store.prefix_list_users(&list.id).await?;
    let told = users
        .into_iter()
        .map(|(id, owner)| PrefixListAssociation { resource_id: Some(id), resource_owner: Some(owner) });
    let key = |one: &PrefixListAssociation| one.resource_id.clone().unwrap_or_default();
    let (prefix_list_associations, next_token) = page(&request, told.collect(), key)?;
    Ok(GetManagedPrefixListAssociationsResult { next_token, prefix_list_associations })
}

impl Filterable for Shown<ManagedPrefixList> {
    const FILTERS: &'static [&'static str] = &["owner-id", "prefix-list-id", "prefix-list-name"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "owner-id" => tell(each, &self.0.owner_id),
            "prefix-list-id" => tell(each, &self.0.prefix_list_id),
            "prefix-list-name" => tell(each, &self.0.prefix_list_name),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

impl Filterable for Shown<PrefixList> {
    const FILTERS: &'static [&'static str] = &["prefix-list-id", "prefix-list-name"];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "prefix-list-id" => tell(each, &self.0.prefix_list_id),
            "prefix-list-name" => tell(each, &self.0.prefix_list_name),
            _ => {}
        }
    }
}

/// Neither has filters: their pages alone are asked for.
macro_rules! unfiltered {
    ($($name:ident),*) => {$(
        impl Filterable for Shown<$name> {
            const FILTERS: &'static [&'static str] = &[];
            const TAGGED: bool = false;

            fn filter_values(&self, _: &str, _: &mut dyn FnMut(&str)) {}
        }
    )*};
}

unfiltered!(PrefixListEntry, PrefixListAssociation);
