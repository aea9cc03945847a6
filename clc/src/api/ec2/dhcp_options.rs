//! Sets of DHCP options.

use super::listing::{Shown, absent, ids_or_page, named, page, tell, tell_tags};
use super::tag::{shown, specified};
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::dhcp_options::of_region;
use crate::app::tag::{Taggable, Tags};
use crate::app::vpc::NO_DHCP_OPTIONS;
use crate::store::dhcp_options::{DhcpOptions as Row, Options};
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    AssociateDhcpOptionsRequest, AttributeValue, CreateDhcpOptionsRequest, CreateDhcpOptionsResult,
    DeleteDhcpOptionsRequest, DescribeDhcpOptionsRequest, DescribeDhcpOptionsResult, DhcpConfiguration,
    DhcpOptions, NewDhcpConfiguration,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::DhcpOptionsId;

const KIND: &str = "dhcp-options";

pub async fn describe_dhcp_options(
    cx: Cx,
    request: DescribeDhcpOptionsRequest,
) -> Answer<DescribeDhcpOptionsResult> {
    ids_or_page(&request.dhcp_options_ids, request.max_results, "dhcpOptionsSet")?;
    for id in &request.dhcp_options_ids {
        id.parse::<DhcpOptionsId>()?;
    }
    let rows = cx.app.store.dhcp_options_list(cx.account()).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidDhcpOptionIdNotFound, "dhcpOptions ID", ids);
    let rows = named(&request.dhcp_options_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::DhcpOptions).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        describe(&cx, row, &tags)
    });
    let key = |set: &DhcpOptions| set.dhcp_options_id.clone().unwrap_or_default();
    let (dhcp_options, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeDhcpOptionsResult { dhcp_options, next_token })
}

fn describe(cx: &Cx, row: Row, tags: &Tags) -> DhcpOptions {
    let options = if row.is_default { of_region(&cx.app.region) } else { row.options };
    let configuration = |(name, values): (String, Vec<String>)| DhcpConfiguration {
        key: Some(name),
        values: values.into_iter().map(|value| AttributeValue { value: Some(value) }).collect(),
    };
    DhcpOptions {
        dhcp_configurations: options.into_iter().map(configuration).collect(),
        dhcp_options_id: Some(row.id),
        owner_id: Some(row.account),
        tags: shown(tags),
    }
}

pub fn create_asks(_: &Cx, _: &CreateDhcpOptionsRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, "*")])
}

pub async fn create_dhcp_options(
    cx: Cx,
    request: CreateDhcpOptionsRequest,
) -> Answer<CreateDhcpOptionsResult> {
    let tags = specified(&request.tag_specifications, Taggable::DhcpOptions)?;
    let dry = request.dry_run == Some(true);
    let options = options(&request.dhcp_configurations)?;
    let set = cx.app.dhcp_options_create(cx.account(), options, &tags, dry).await?;
    not_dry(&request)?;
    Ok(CreateDhcpOptionsResult { dhcp_options: Some(describe(&cx, set, &tags)) })
}

fn options(configurations: &[NewDhcpConfiguration]) -> Result<Options, Fault> {
    let missing = || {
        Fault::new(
            FaultCode::MissingParameter,
            "The request must contain the parameter DhcpConfiguration.Key",
        )
    };
    let read = |one: &NewDhcpConfiguration| Ok((one.key.clone().ok_or_else(missing)?, one.values.clone()));
    configurations.iter().map(read).collect()
}

pub fn delete_asks(_: &Cx, request: &DeleteDhcpOptionsRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.dhcp_options_id)])
}

pub async fn delete_dhcp_options(cx: Cx, request: DeleteDhcpOptionsRequest) -> Answer<Done> {
    let dry = request.dry_run == Some(true);
    cx.app.dhcp_options_delete(cx.caller(), &request.dhcp_options_id, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn associate_asks(_: &Cx, request: &AssociateDhcpOptionsRequest) -> Asks {
    let set = Some(&request.dhcp_options_id).filter(|id| *id != NO_DHCP_OPTIONS);
    let set = set.map(|id| Target::new(KIND, id));
    Asks::On([Target::new("vpc", &request.vpc_id)].into_iter().chain(set).collect())
}

pub async fn associate_dhcp_options(cx: Cx, request: AssociateDhcpOptionsRequest) -> Answer<Done> {
    let (vpc, set, dry) = (&request.vpc_id, &request.dhcp_options_id, request.dry_run == Some(true));
    cx.app.dhcp_options_associate(cx.caller(), vpc, set, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

impl Filterable for Shown<DhcpOptions> {
    const FILTERS: &'static [&'static str] = &["dhcp-options-id", "key", "owner-id", "value"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let set = &self.0;
        match name {
            "dhcp-options-id" => tell(each, &set.dhcp_options_id),
            "key" => set.dhcp_configurations.iter().for_each(|one| tell(each, &one.key)),
            "owner-id" => tell(each, &set.owner_id),
            "value" => {
                let values = set.dhcp_configurations.iter().flat_map(|one| &one.values);
                values.for_each(|value| tell(each, &value.value));
            }
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
