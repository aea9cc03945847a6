//! Regions and availability zones. This cloud is one region; a zone is a cluster, which others may extend.

use super::listing::{Shown, filtered, named, tell};
use crate::api::cx::{Answer, Cx};
use crate::app::cluster::ClusterLink;
use karri_proto::aws::ec2::{
    AvailabilityZone, DescribeAvailabilityZonesRequest, DescribeAvailabilityZonesResult,
    DescribeRegionsRequest, DescribeRegionsResult, Region,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, shown_list};
use karri_proto::internal::admin::TypeSlots;

const NOT_REQUIRED: &str = "opt-in-not-required";
/// What Eucalyptus' tools ask for in place of a zone's name, to be told the slots of each type.
const VERBOSE: &str = "verbose";

pub async fn describe_regions(cx: Cx, request: DescribeRegionsRequest) -> Answer<DescribeRegionsResult> {
    let region = Region {
        endpoint: Some(cx.host.to_string()),
        opt_in_status: Some(NOT_REQUIRED.to_owned()),
        region_name: Some(cx.app.region.clone()),
        ..Default::default()
    };
    let missing = |names: &[&str]| unknown("region", names);
    let name = |region: &Region| region.region_name.clone().unwrap_or_default();
    let regions: Vec<(String, Region)> = vec![(name(&region), region)];
    let regions = named(&request.region_names, regions, |(name, _)| name.as_str(), missing)?;
    let regions = regions.into_iter().map(|(_, region)| region).collect();
    Ok(DescribeRegionsResult { regions: filtered(&request, regions)? })
}

fn unknown(what: &str, names: &[&str]) -> Fault {
    Fault::invalid_parameter(format!("Invalid {what}s: [{}]", shown_list(names)))
}

pub async fn describe_availability_zones(
    cx: Cx,
    mut request: DescribeAvailabilityZonesRequest,
) -> Answer<DescribeAvailabilityZonesResult> {
    // Who signs for another name of this region also asks for its zones under that name.
    for filter in request.filters.iter_mut().filter(|filter| filter.name == "region-name") {
        for value in filter.values.iter_mut().filter(|value| cx.app.regions.contains(value)) {
            value.clone_from(&cx.app.region);
        }
    }
    let asked = request.zone_names.len();
    request.zone_names.retain(|name| name != VERBOSE);
    let verbose = request.zone_names.len() < asked;
    let mut links = cx.app.clusters.zones();
    links.sort_by_key(|link| link.hello().zone);
    let zones: Vec<(String, AvailabilityZone)> =
        links.iter().map(|link| (link.hello().zone, zone(&cx, link))).collect();
    let missing = |names: &[&str]| unknown("availability zone", names);
    let zones = named(&request.zone_names, zones, |(name, _)| name.as_str(), missing)?;
    let missing = |ids: &[&str]| unknown("availability zone-id", ids);
    let zones = named(&request.zone_ids, zones, |(name, _)| name.as_str(), missing)?;
    let mut shown = filtered(&request, Vec::new())?; // filters are checked where there is no zone, too
    for (name, zone) in zones {
        for zone in filtered(&request, vec![zone])? {
            shown.push(zone);
            if verbose {
                shown.extend(slot_lines(&cx, &name));
            }
        }
    }
    Ok(DescribeAvailabilityZonesResult { availability_zones: shown })
}

/// A zone's id is its name: both are the cluster's, and neither ever changes.
fn zone(cx: &Cx, link: &ClusterLink) -> AvailabilityZone {
    let name = link.hello().zone;
    let state = if cx.app.cluster_is_away(link) { "unavailable" } else { "available" };
    let region = &cx.app.region;
    AvailabilityZone {
        group_name: Some(region.clone()),
        network_border_group: Some(region.clone()),
        opt_in_status: Some(NOT_REQUIRED.to_owned()),
        region_name: Some(region.clone()),
        state: Some(state.to_owned()),
        zone_id: Some(name.clone()),
        zone_name: Some(name),
        zone_type: Some("availability-zone".to_owned()),
        ..Default::default()
    }
}

/// The paper's describeResources, as lines that pass for zones: what euca-describe-availability-zones prints.
fn slot_lines(cx: &Cx, zone: &str) -> Vec<AvailabilityZone> {
    let line = |name: String, state: String| AvailabilityZone {
        region_name: Some(cx.app.region.clone()),
        state: Some(state),
        zone_name: Some(name),
        ..Default::default()
    };
    let mut lines = vec![line("|- vm types".to_owned(), "free / max   cpu   ram  disk".to_owned())];
    lines.extend(
        cx.app
            .slots_of_zone(zone)
            .iter()
            .map(|slots| line(format!("|- {}", slots.instance_type), slot_text(slots))),
    );
    lines
}

fn slot_text(slots: &TypeSlots) -> String {
    let TypeSlots { free, total, vcpus, memory_mib, disk_gib, .. } = slots;
    format!("{free:04} / {total:04}  {vcpus:2}   {memory_mib:4}  {disk_gib:4}")
}

impl Filterable for Shown<Region> {
    const FILTERS: &'static [&'static str] = &["endpoint", "opt-in-status", "region-name"];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "endpoint" => tell(each, &self.0.endpoint),
            "opt-in-status" => tell(each, &self.0.opt_in_status),
            "region-name" => tell(each, &self.0.region_name),
            _ => {}
        }
    }
}

impl Filterable for Shown<AvailabilityZone> {
    const FILTERS: &'static [&'static str] = &[
        "group-long-name",
        "group-name",
        "message",
        "opt-in-status",
        "parent-zone-id",
        "parent-zone-name",
        "region-name",
        "state",
        "zone-id",
        "zone-name",
        "zone-type",
    ];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let zone = &self.0;
        match name {
            "group-name" => tell(each, &zone.group_name),
            "opt-in-status" => tell(each, &zone.opt_in_status),
            "region-name" => tell(each, &zone.region_name),
            "state" => tell(each, &zone.state),
            "zone-id" => tell(each, &zone.zone_id),
            "zone-name" => tell(each, &zone.zone_name),
            "zone-type" => tell(each, &zone.zone_type),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_line_is_as_eucalyptus_tools_print_it() {
        let slots = TypeSlots {
            instance_type: "t3.micro".to_owned(),
            vcpus: 2,
            memory_mib: 1024,
            disk_gib: 8,
            free: 3,
            total: 12,
        };
        assert_eq!(slot_text(&slots), "0003 / 0012   2   1024     8");
    }
}
