//! Instance types, and where they are to be had.

mod filter;

use super::listing::{Shown, ids_or_page, page, tell};
use crate::api::cx::{Answer, Cx};
use crate::app::instance_type::{Hypervisor, InstanceType};
use karri_proto::aws::ec2::{
    DescribeInstanceTypeOfferingsRequest, DescribeInstanceTypeOfferingsResult, DescribeInstanceTypesRequest,
    DescribeInstanceTypesResult, EbsInfo, InstanceTypeInfo, InstanceTypeOffering, LocationType, MemoryInfo,
    NetworkCardInfo, NetworkInfo, PlacementGroupInfo, ProcessorInfo, VCpuInfo,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode, shown_list};

const NAMES_MAX: usize = 100;

pub async fn describe_instance_types(
    cx: Cx,
    request: DescribeInstanceTypesRequest,
) -> Answer<DescribeInstanceTypesResult> {
    let wanted = &request.instance_types;
    ids_or_page(wanted, request.max_results, "instanceTypes")?;
    if wanted.len() > NAMES_MAX {
        let sentence = format!("At most {NAMES_MAX} instance types can be named in one request");
        return Err(Fault::invalid_parameter(sentence));
    }
    let unknown: Vec<&String> = wanted.iter().filter(|name| cx.app.catalogue.get(name).is_none()).collect();
    if !unknown.is_empty() {
        return Err(not_there(&unknown));
    }
    let named = |one: &&InstanceType| wanted.is_empty() || wanted.contains(&one.name);
    let types = cx.app.catalogue.iter().filter(named).map(describe).collect();
    let key = |one: &InstanceTypeInfo| one.instance_type.clone().unwrap_or_default();
    let (instance_types, next_token) = page(&request, types, key)?;
    Ok(DescribeInstanceTypesResult { instance_types, next_token })
}

fn not_there(names: &[&String]) -> Fault {
    let sentence = format!("The following supplied instance types do not exist: [{}]", shown_list(names));
    Fault::new(FaultCode::InvalidInstanceType, sentence)
}

fn number(value: impl TryInto<i32>) -> Option<i32> {
    value.try_into().ok()
}

fn describe(one: &InstanceType) -> InstanceTypeInfo {
    let nitro = one.hypervisor == Hypervisor::Nitro;
    InstanceTypeInfo {
        auto_recovery_supported: Some(false),
        bare_metal: Some(false),
        burstable_performance_supported: Some(one.credits.is_some()),
        current_generation: Some(one.current_generation),
        dedicated_hosts_supported: Some(false),
        ebs_info: Some(EbsInfo {
            ebs_optimized_support: Some("unsupported".to_owned()),
            encryption_support: Some("unsupported".to_owned()),
            nvme_support: Some("unsupported".to_owned()),
            ..Default::default()
        }),
        free_tier_eligible: Some(one.free_tier),
        hibernation_supported: Some(false),
        hypervisor: Some(if nitro { "nitro" } else { "xen" }.to_owned()),
        instance_storage_supported: Some(false),
        instance_type: Some(one.name.clone()),
        memory_info: Some(MemoryInfo { size_in_mib: i64::try_from(one.memory_mib).ok() }),
        network_info: Some(network(one)),
        nitro_enclaves_support: Some("unsupported".to_owned()),
        nitro_tpm_support: Some("unsupported".to_owned()),
        phc_support: Some("unsupported".to_owned()),
        placement_group_info: Some(PlacementGroupInfo::default()),
        processor_info: Some(ProcessorInfo {
            supported_architectures: one.architectures.clone(),
            sustained_clock_speed_in_ghz: one.clock_ghz,
            ..Default::default()
        }),
        // Which firmware starts is the image's choice; every node has both.
        supported_boot_modes: vec!["legacy-bios".to_owned(), "uefi".to_owned()],
        supported_root_device_types: vec!["ebs".to_owned()],
        supported_usage_classes: vec!["on-demand".to_owned()],
        supported_virtualization_types: vec!["hvm".to_owned(), "paravirtual".to_owned()],
        v_cpu_info: Some(vcpus(one)),
        ..Default::default()
    }
}

fn vcpus(one: &InstanceType) -> VCpuInfo {
    // The topology is the node's: cores cannot be chosen at launch, so the default is the only valid one.
    VCpuInfo {
        default_cores: number(one.cores()),
        default_threads_per_core: number(one.threads()),
        default_v_cpus: number(one.vcpus),
        valid_cores: number(one.cores()).into_iter().collect(),
        valid_threads_per_core: number(one.threads()).into_iter().collect(),
    }
}

fn network(one: &InstanceType) -> NetworkInfo {
    let card = NetworkCardInfo {
        maximum_network_interfaces: number(one.interfaces),
        network_card_index: Some(0),
        network_performance: Some(one.network_performance.clone()),
        ..Default::default()
    };
    NetworkInfo {
        default_network_card_index: Some(0),
        efa_supported: Some(false),
        ena_srd_supported: Some(false),
        ena_support: Some("unsupported".to_owned()),
        encryption_in_transit_supported: Some(false),
        ipv4_addresses_per_interface: number(one.addresses_per_interface),
        ipv6_addresses_per_interface: Some(0),
        ipv6_supported: Some(false),
        maximum_network_cards: Some(1),
        maximum_network_interfaces: number(one.interfaces),
        network_cards: vec![card],
        network_performance: Some(one.network_performance.clone()),
        ..Default::default()
    }
}

pub async fn describe_instance_type_offerings(
    cx: Cx,
    request: DescribeInstanceTypeOfferingsRequest,
) -> Answer<DescribeInstanceTypeOfferingsResult> {
    let kind = request.location_type.as_deref().unwrap_or(LocationType::REGION);
    let locations = match kind {
        LocationType::REGION => vec![cx.app.region.clone()],
        // A zone's id is its name.
        LocationType::AVAILABILITY_ZONE | LocationType::AVAILABILITY_ZONE_ID => {
            cx.app.clusters.zones().iter().map(|link| link.hello().zone).collect()
        }
        _ => Vec::new(),
    };
    let offered = |location: &String| {
        let offering = |one: &InstanceType| InstanceTypeOffering {
            instance_type: Some(one.name.clone()),
            location: Some(location.clone()),
            location_type: Some(kind.to_owned()),
        };
        cx.app.catalogue.iter().map(offering).collect::<Vec<_>>()
    };
    let offerings = locations.iter().flat_map(offered).collect();
    let key = |offering: &InstanceTypeOffering| {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}\0{}", part(&offering.instance_type), part(&offering.location))
    };
    let (instance_type_offerings, next_token) = page(&request, offerings, key)?;
    Ok(DescribeInstanceTypeOfferingsResult { instance_type_offerings, next_token })
}

impl Filterable for Shown<InstanceTypeOffering> {
    const FILTERS: &'static [&'static str] = &["instance-type", "location"];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "instance-type" => tell(each, &self.0.instance_type),
            "location" => tell(each, &self.0.location),
            _ => {}
        }
    }
}
