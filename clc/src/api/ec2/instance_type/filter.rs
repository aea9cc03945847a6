//! What DescribeInstanceTypes can be filtered by: all that EC2 knows.

use crate::api::ec2::listing::{Shown, tell, tell_flag, tell_number};
use karri_proto::aws::ec2::{EbsInfo, InstanceTypeInfo, NetworkInfo, ProcessorInfo, VCpuInfo};
use karri_proto::aws::filter::Filterable;

impl Filterable for Shown<InstanceTypeInfo> {
    const FILTERS: &'static [&'static str] = &[
        "auto-recovery-supported",
        "bare-metal",
        "burstable-performance-supported",
        "current-generation",
        "dedicated-hosts-supported",
        "ebs-info.attachment-limit-type",
        "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps",
        "ebs-info.ebs-optimized-info.baseline-iops",
        "ebs-info.ebs-optimized-info.baseline-throughput-in-mbps",
        "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps",
        "ebs-info.ebs-optimized-info.maximum-iops",
        "ebs-info.ebs-optimized-info.maximum-throughput-in-mbps",
        "ebs-info.ebs-optimized-support",
        "ebs-info.encryption-support",
        "ebs-info.maximum-ebs-attachments",
        "ebs-info.nvme-support",
        "free-tier-eligible",
        "hibernation-supported",
        "hypervisor",
        "instance-storage-info.disk.count",
        "instance-storage-info.disk.size-in-gb",
        "instance-storage-info.disk.type",
        "instance-storage-info.encryption-support",
        "instance-storage-info.nvme-support",
        "instance-storage-info.total-size-in-gb",
        "instance-storage-supported",
        "instance-type",
        "memory-info.size-in-mib",
        "network-info.bandwidth-weightings",
        "network-info.efa-info.maximum-efa-interfaces",
        "network-info.efa-supported",
        "network-info.ena-support",
        "network-info.encryption-in-transit-supported",
        "network-info.flexible-ena-queues-support",
        "network-info.ipv4-addresses-per-interface",
        "network-info.ipv6-addresses-per-interface",
        "network-info.ipv6-supported",
        "network-info.maximum-network-cards",
        "network-info.maximum-network-interfaces",
        "network-info.network-performance",
        "nitro-enclaves-support",
        "nitro-tpm-info.supported-versions",
        "nitro-tpm-support",
        "processor-info.supported-architecture",
        "processor-info.supported-features",
        "processor-info.sustained-clock-speed-in-ghz",
        "reboot-migration-support",
        "supported-boot-mode",
        "supported-root-device-type",
        "supported-usage-class",
        "supported-virtualization-type",
        "vcpu-info.default-cores",
        "vcpu-info.default-threads-per-core",
        "vcpu-info.default-vcpus",
        "vcpu-info.valid-cores",
        "vcpu-info.valid-threads-per-core",
    ];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let one = &self.0;
        match name.split_once('.') {
            Some(("ebs-info", rest)) => ebs(one.ebs_info.as_ref(), rest, each),
            Some(("network-info", rest)) => network(one.network_info.as_ref(), rest, each),
            Some(("processor-info", rest)) => processor(one.processor_info.as_ref(), rest, each),
            Some(("vcpu-info", rest)) => vcpus(one.v_cpu_info.as_ref(), rest, each),
            Some(("memory-info", _)) => {
                tell_number(each, one.memory_info.as_ref().and_then(|memory| memory.size_in_mib));
            }
            Some(_) => {}
            None => plain(one, name, each),
        }
    }
}

fn plain(one: &InstanceTypeInfo, name: &str, each: &mut dyn FnMut(&str)) {
    match name {
        "auto-recovery-supported" => tell_flag(each, one.auto_recovery_supported),
        "bare-metal" => tell_flag(each, one.bare_metal),
        "burstable-performance-supported" => tell_flag(each, one.burstable_performance_supported),
        "current-generation" => tell_flag(each, one.current_generation),
        "dedicated-hosts-supported" => tell_flag(each, one.dedicated_hosts_supported),
        "free-tier-eligible" => tell_flag(each, one.free_tier_eligible),
        "hibernation-supported" => tell_flag(each, one.hibernation_supported),
        "hypervisor" => tell(each, &one.hypervisor),
        "instance-storage-supported" => tell_flag(each, one.instance_storage_supported),
        "instance-type" => tell(each, &one.instance_type),
        "nitro-enclaves-support" => tell(each, &one.nitro_enclaves_support),
        "nitro-tpm-support" => tell(each, &one.nitro_tpm_support),
        "reboot-migration-support" => tell(each, &one.reboot_migration_support),
        "supported-boot-mode" => one.supported_boot_modes.iter().for_each(|value| each(value)),
        "supported-root-device-type" => one.supported_root_device_types.iter().for_each(|value| each(value)),
        "supported-usage-class" => one.supported_usage_classes.iter().for_each(|value| each(value)),
        "supported-virtualization-type" => {
            one.supported_virtualization_types.iter().for_each(|value| each(value));
        }
        _ => {}
    }
}

fn ebs(info: Option<&EbsInfo>, name: &str, each: &mut dyn FnMut(&str)) {
    let Some(info) = info else { return };
    match name {
        "ebs-optimized-support" => tell(each, &info.ebs_optimized_support),
        "encryption-support" => tell(each, &info.encryption_support),
        "nvme-support" => tell(each, &info.nvme_support),
        _ => {}
    }
}

fn network(info: Option<&NetworkInfo>, name: &str, each: &mut dyn FnMut(&str)) {
    let Some(info) = info else { return };
    match name {
        "efa-supported" => tell_flag(each, info.efa_supported),
        "ena-support" => tell(each, &info.ena_support),
        "encryption-in-transit-supported" => tell_flag(each, info.encryption_in_transit_supported),
        "ipv4-addresses-per-interface" => tell_number(each, info.ipv4_addresses_per_interface),
        "ipv6-addresses-per-interface" => tell_number(each, info.ipv6_addresses_per_interface),
        "ipv6-supported" => tell_flag(each, info.ipv6_supported),
        "maximum-network-cards" => tell_number(each, info.maximum_network_cards),
        "maximum-network-interfaces" => tell_number(each, info.maximum_network_interfaces),
        "network-performance" => tell(each, &info.network_performance),
        _ => {}
    }
}

fn processor(info: Option<&ProcessorInfo>, name: &str, each: &mut dyn FnMut(&str)) {
    let Some(info) = info else { return };
    match name {
        "supported-architecture" => info.supported_architectures.iter().for_each(|value| each(value)),
        "sustained-clock-speed-in-ghz" => tell_number(each, info.sustained_clock_speed_in_ghz),
        _ => {}
    }
}

fn vcpus(info: Option<&VCpuInfo>, name: &str, each: &mut dyn FnMut(&str)) {
    let Some(info) = info else { return };
    match name {
        "default-cores" => tell_number(each, info.default_cores),
        "default-threads-per-core" => tell_number(each, info.default_threads_per_core),
        "default-vcpus" => tell_number(each, info.default_v_cpus),
        "valid-cores" => info.valid_cores.iter().for_each(|value| each(&value.to_string())),
        "valid-threads-per-core" => {
            info.valid_threads_per_core.iter().for_each(|value| each(&value.to_string()));
        }
        _ => {}
    }
}
