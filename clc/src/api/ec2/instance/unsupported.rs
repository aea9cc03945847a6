//! What RunInstances refuses because Karri does not do it. Nothing that is asked for is ignored.

use karri_proto::aws::ec2::{
    EbsBlockDevice, InstanceNetworkInterfaceSpecification, Placement, PrivateDnsNameOptionsRequest,
    RunInstancesRequest,
};
use karri_proto::fault::{Fault, FaultCode};

/// Volume types that differ from others in nothing that a disk of ours could show.
pub const VOLUME_TYPES: [&str; 3] = ["gp2", "gp3", "standard"];

/// What EC2 tells of a gp3 volume that was made without saying anything of it.
pub const GP3_IOPS: i32 = 3000;
pub const GP3_THROUGHPUT_MIB: i32 = 125;

pub fn unsupported(what: &str) -> Fault {
    Fault::new(FaultCode::Unsupported, format!("The requested configuration is not supported: {what}."))
}

fn refuse(wanted: &[(bool, &str)]) -> Result<(), Fault> {
    match wanted.iter().find(|(wanted, _)| *wanted) {
        Some((_, what)) => Err(unsupported(what)),
        None => Ok(()),
    }
}

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

pub fn refuse_unsupported(request: &RunInstancesRequest) -> Result<(), Fault> {
    let weighting = request.network_performance_options.as_ref().map(|options| &options.bandwidth_weighting);
    refuse(&[
        (request.launch_template.is_some(), "launch templates"),
        (request.instance_market_options.is_some(), "spot instances"),
        (request.iam_instance_profile.is_some(), "instance profiles"),
        (request.monitoring.as_ref().is_some_and(|monitoring| monitoring.enabled), "detailed monitoring"),
        (request.ebs_optimized == Some(true), "EBS optimisation"),
        (request.cpu_options.is_some(), "CPU options"),
        (request.capacity_reservation_specification.is_some(), "capacity reservations"),
        (!request.elastic_gpu_specification.is_empty(), "elastic GPUs"),
        (!request.elastic_inference_accelerators.is_empty(), "inference accelerators"),
        (request.enclave_options.as_ref().is_some_and(|o| o.enabled == Some(true)), "enclaves"),
        (request.hibernation_options.as_ref().is_some_and(|o| o.configured == Some(true)), "hibernation"),
        (!request.license_specifications.is_empty(), "licence configurations"),
        (request.ipv6_address_count.is_some_and(|count| count > 0), "IPv6"),
        (!request.ipv6_addresses.is_empty() || request.enable_primary_ipv6 == Some(true), "IPv6"),
        (!request.secondary_interfaces.is_empty(), "secondary interfaces"),
        (given(&request.additional_info), "additional information"),
        (request.operator.as_ref().is_some_and(|operator| given(&operator.principal)), "operators"),
        (weighting.is_some_and(|w| w.as_deref().is_some_and(|w| w != "default")), "bandwidth weighting"),
    ])?;
    refuse_placement(request.placement.as_ref().unwrap_or(&Placement::default()))?;
    refuse_names(request.private_dns_name_options.as_ref())
}

fn refuse_placement(placement: &Placement) -> Result<(), Fault> {
    let Placement {
        availability_zone: _,
        availability_zone_id: _,
        affinity,
        host_id,
        host_resource_group_arn,
        group_name,
        group_id,
        partition_number,
        spread_domain,
        tenancy,
    } = placement;
    refuse(&[
        (given(affinity) || given(host_id) || given(host_resource_group_arn), "dedicated hosts"),
        (given(group_name) || given(group_id) || partition_number.is_some(), "placement groups"),
        (given(spread_domain), "spread domains"),
        (tenancy.as_deref().is_some_and(|tenancy| tenancy != "default"), "dedicated tenancy"),
    ])
}

/// Hosts are named after their address, and those names alone are known.
fn refuse_names(options: Option<&PrivateDnsNameOptionsRequest>) -> Result<(), Fault> {
    let Some(options) = options else { return Ok(()) };
    let records = options.enable_resource_name_dns_a_record == Some(true)
        || options.enable_resource_name_dns_aaaa_record == Some(true);
    refuse(&[
        (options.hostname_type.as_deref().is_some_and(|kind| kind != "ip-name"), "resource names of hosts"),
        (records, "DNS records of resource names"),
    ])
}

pub fn refuse_unsupported_disk(ebs: &EbsBlockDevice) -> Result<(), Fault> {
    let EbsBlockDevice {
        volume_size: _,
        volume_type,
        encrypted,
        kms_key_id,
        snapshot_id,
        delete_on_termination,
        iops,
        throughput,
        volume_initialization_rate,
        availability_zone,
        availability_zone_id,
        ebs_card_index,
        outpost_arn,
    } = ebs;
    let combination = |sentence: String| Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
    let plain = volume_type.as_deref().filter(|kind| matches!(*kind, "gp2" | "standard" | "st1" | "sc1"));
    if let (Some(kind), true) = (plain, iops.is_some()) {
        return combination(format!("The parameter iops is not supported for {kind} volumes."));
    }
    if let (Some(kind), true) = (plain, throughput.is_some()) {
        return combination(format!("The parameter throughput is not supported for {kind} volumes."));
    }
    if let Some(kind @ ("st1" | "sc1")) = volume_type.as_deref() {
        return combination(format!("Volumes of type {kind} cannot be root volumes."));
    }
    // What a gp3 volume has anyway may be said.
    let gp3 = volume_type.as_deref() == Some("gp3");
    let usual = |said: Option<i32>, has: i32| said.is_none_or(|said| gp3 && said == has);
    let performance = usual(*iops, GP3_IOPS) && usual(*throughput, GP3_THROUGHPUT_MIB);
    refuse(&[
        (*encrypted == Some(true) || kms_key_id.is_some(), "an encrypted root disk"),
        (snapshot_id.is_some(), "a root disk from a snapshot"),
        (*delete_on_termination == Some(false), "a root disk that outlives its instance"),
        (!performance, "provisioned performance of disks"),
        (volume_initialization_rate.is_some(), "initialization rates of disks"),
        (volume_type.as_deref().is_some_and(|kind| !VOLUME_TYPES.contains(&kind)), "that type of volume"),
        (given(availability_zone) || given(availability_zone_id), "a disk's own zone"),
        (ebs_card_index.is_some_and(|index| index != 0), "several EBS cards"),
        (outpost_arn.is_some(), "outposts"),
    ])
}

pub fn refuse_unsupported_interface(one: &InstanceNetworkInterfaceSpecification) -> Result<(), Fault> {
    let some = |count: Option<i32>| count.is_some_and(|count| count > 0);
    let ipv6 =
        !one.ipv6_addresses.is_empty() || some(one.ipv6_address_count) || one.primary_ipv6 == Some(true);
    let prefixes = !one.ipv4_prefixes.is_empty()
        || !one.ipv6_prefixes.is_empty()
        || some(one.ipv4_prefix_count)
        || some(one.ipv6_prefix_count);
    refuse(&[
        (one.network_card_index.is_some_and(|index| index != 0), "network cards other than the first"),
        (one.associate_carrier_ip_address == Some(true), "carrier addresses"),
        (ipv6, "IPv6"),
        (prefixes, "address prefixes"),
        (one.interface_type.as_deref().is_some_and(|kind| kind != "interface"), "special interfaces"),
        (one.connection_tracking_specification.is_some(), "timeouts of connection tracking"),
        (one.ena_queue_count.is_some() || one.ena_srd_specification.is_some(), "ENA options"),
    ])
}
