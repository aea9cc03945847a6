//! Prefix lists made, changed and removed.

use super::{KIND, describe, on};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified;
use crate::api::ec2::token::token;
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::prefix_list::{Entry, Family, Modification, NewList};
use crate::app::tag::Taggable;
use crate::store::prefix_list::PrefixList as Row;
use karri_proto::aws::ec2::{
    AddPrefixListEntry, CreateManagedPrefixListRequest, CreateManagedPrefixListResult,
    DeleteManagedPrefixListRequest, DeleteManagedPrefixListResult, ManagedPrefixList,
    ModifyManagedPrefixListRequest, ModifyManagedPrefixListResult, RestoreManagedPrefixListVersionRequest,
    RestoreManagedPrefixListVersionResult,
};
use karri_proto::fault::{Fault, FaultCode, shown};

fn entry(asked: AddPrefixListEntry) -> Entry {
    Entry { cidr: asked.cidr, description: asked.description }
}

/// With the tags that it has.
async fn told(cx: &Cx, row: Row) -> Result<Option<ManagedPrefixList>, Fault> {
    let tags = cx.app.store.tags_of_resource(&row.account, &row.id).await?;
    Ok(Some(describe(cx, row, &tags)))
}

pub fn create_asks(_: &Cx, _: &CreateManagedPrefixListRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, "*")])
}

pub async fn create_managed_prefix_list(
    cx: Cx,
    request: CreateManagedPrefixListRequest,
) -> Answer<CreateManagedPrefixListResult> {
    let tags = specified(&request.tag_specifications, Taggable::PrefixList)?;
    let (used, dry) = (token(&cx, &request)?, request.dry_run == Some(true));
    let family = Family::of_name(&request.address_family).ok_or_else(|| {
        let said = shown(&request.address_family);
        let sentence = format!("Value ({said}) for parameter AddressFamily is invalid. It is IPv4 or IPv6.");
        Fault::invalid_parameter(sentence)
    })?;
    let new = NewList {
        name: request.prefix_list_name.clone(),
        family,
        max_entries: request.max_entries,
        entries: request.entries.iter().cloned().map(entry).collect(),
    };
    let row = cx.app.prefix_list_create(cx.caller(), &new, &used, &tags, dry).await?;
    not_dry(&request)?;
    Ok(CreateManagedPrefixListResult { prefix_list: told(&cx, row).await? })
}

pub fn modify_asks(_: &Cx, request: &ModifyManagedPrefixListRequest) -> Asks {
    on(&request.prefix_list_id)
}

pub async fn modify_managed_prefix_list(
    cx: Cx,
    request: ModifyManagedPrefixListRequest,
) -> Answer<ModifyManagedPrefixListResult> {
    if request.ipam_prefix_list_resolver_sync_enabled == Some(true) {
        let sentence = "Prefix lists that follow an IPAM are not supported";
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    let wanted = Modification {
        current_version: request.current_version,
        name: request.prefix_list_name.clone(),
        max_entries: request.max_entries,
        add: request.add_entries.iter().cloned().map(entry).collect(),
        remove: request.remove_entries.iter().map(|entry| entry.cidr.clone()).collect(),
    };
    let (id, dry) = (&request.prefix_list_id, request.dry_run == Some(true));
    let row = cx.app.prefix_list_modify(cx.caller(), id, &wanted, dry).await?;
    not_dry(&request)?;
    Ok(ModifyManagedPrefixListResult { prefix_list: told(&cx, row).await? })
}

pub fn restore_asks(_: &Cx, request: &RestoreManagedPrefixListVersionRequest) -> Asks {
    on(&request.prefix_list_id)
}

pub async fn restore_managed_prefix_list_version(
    cx: Cx,
    request: RestoreManagedPrefixListVersionRequest,
) -> Answer<RestoreManagedPrefixListVersionResult> {
    let (id, dry) = (&request.prefix_list_id, request.dry_run == Some(true));
    let (current, previous) = (request.current_version, request.previous_version);
    let row = cx.app.prefix_list_restore(cx.caller(), id, current, previous, dry).await?;
    not_dry(&request)?;
    Ok(RestoreManagedPrefixListVersionResult { prefix_list: told(&cx, row).await? })
}

pub fn delete_asks(_: &Cx, request: &DeleteManagedPrefixListRequest) -> Asks {
    on(&request.prefix_list_id)
}

pub async fn delete_managed_prefix_list(
    cx: Cx,
    request: DeleteManagedPrefixListRequest,
) -> Answer<DeleteManagedPrefixListResult> {
    let dry = request.dry_run == Some(true);
    let mut row = cx.app.prefix_list_delete(cx.caller(), &request.prefix_list_id, dry).await?;
    not_dry(&request)?;
    row.state = "delete-complete".to_owned();
    Ok(DeleteManagedPrefixListResult { prefix_list: told(&cx, row).await? })
}
