//! EC2's actions: one line each, with the permission that it takes.

mod account;
mod address;
mod bundle_task;
mod dhcp_options;
mod iam_instance_profile;
mod image;
mod instance;
mod instance_type;
mod internet_gateway;
mod key_pair;
mod listing;
mod nat_gateway;
mod network_acl;
mod network_interface;
mod password_data;
mod prefix_list;
mod region;
mod route_table;
mod security_group;
mod snapshot;
mod subnet;
mod tag;
mod token;
mod volume;
mod vpc;
mod vpc_endpoint;

use super::table::{Table, action_alone};

pub fn table(table: Table) -> Table {
    let table = cloud(instances(table));
    let table = images(table);
    let table = key_pairs(table);
    let table = addresses(gateways(network_acls(route_tables(security_groups(vpcs(network(table)))))));
    let table = prefix_lists(table);
    tags(table)
}

fn instances(table: Table) -> Table {
    table
        .on_change(instance::run_instances, instance::of_run)
        .on_encoded(instance::describe_instances, action_alone)
        .on(instance::describe_instance_status, action_alone)
        .on_change(instance::start_instances, instance::of_start)
        .on_change(instance::stop_instances, instance::of_stop)
        .on_change(instance::reboot_instances, instance::of_reboot)
        .on_change(instance::terminate_instances, instance::of_terminate)
        .on(instance::get_console_output, instance::of_console)
        .on(password_data::get_password_data, password_data::asks)
        .on(instance::describe_instance_attribute, instance::of_describe_attribute)
        .on_change(instance::modify_instance_attribute, instance::of_modify_attribute)
        .on_change(instance::modify_instance_metadata_options, instance::of_modify_metadata)
        .on(instance::describe_instance_credit_specifications, action_alone)
}

fn cloud(table: Table) -> Table {
    table
        .on(region::describe_regions, action_alone)
        .on(region::describe_availability_zones, action_alone)
        .on(account::describe_account_attributes, action_alone)
        .on(instance_type::describe_instance_types, action_alone)
        .on(instance_type::describe_instance_type_offerings, action_alone)
}

fn images(table: Table) -> Table {
    table
        .on_change(image::register_image, image::register_asks)
        .on_change(image::deregister_image, image::deregister_asks)
        .on(image::describe_images, action_alone)
        .on(image::describe_image_attribute, action_alone)
        .on_change(image::import_image, image::import_asks)
        .on(image::describe_import_image_tasks, action_alone)
        .on_change(image::cancel_import_task, image::cancel_import_asks)
        .on_change(image::import_snapshot, image::import_snapshot_asks)
        .on(image::describe_import_snapshot_tasks, action_alone)
        .on(snapshot::describe_snapshots, action_alone)
        .on(snapshot::describe_snapshot_attribute, action_alone)
        .on_change(snapshot::delete_snapshot, snapshot::delete_asks)
        .on_change(image::export_image, image::export_asks)
        .on(image::describe_export_image_tasks, action_alone)
        .on_change(image::cancel_export_task, image::cancel_export_asks)
        .on_change(bundle_task::bundle_instance, action_alone)
        .on(bundle_task::describe_bundle_tasks, action_alone)
        .on_change(bundle_task::cancel_bundle_task, action_alone)
}

fn key_pairs(table: Table) -> Table {
    table
        .on_change(key_pair::create_key_pair, key_pair::create_asks)
        .on_change(key_pair::import_key_pair, key_pair::import_asks)
        .on(key_pair::describe_key_pairs, action_alone)
        .on_change(key_pair::delete_key_pair, key_pair::delete_asks)
}

fn network(table: Table) -> Table {
    table
        .on(network_interface::describe_network_interfaces, action_alone)
        .on_change(network_interface::create_network_interface, network_interface::create_asks)
        .on_change(network_interface::delete_network_interface, network_interface::delete_asks)
        .on_change(network_interface::attach_network_interface, network_interface::attach_asks)
        .on_change(network_interface::detach_network_interface, network_interface::detach_asks)
        .on_change(network_interface::assign_private_ip_addresses, network_interface::assign_asks)
        .on_change(network_interface::unassign_private_ip_addresses, network_interface::unassign_asks)
        .on(
            network_interface::describe_network_interface_attribute,
            network_interface::describe_attribute_asks,
        )
        .on_change(
            network_interface::modify_network_interface_attribute,
            network_interface::modify_attribute_asks,
        )
        .on_change(
            network_interface::reset_network_interface_attribute,
            network_interface::reset_attribute_asks,
        )
        .on(volume::describe_volumes, action_alone)
        .on(iam_instance_profile::describe_iam_instance_profile_associations, action_alone)
}

fn addresses(table: Table) -> Table {
    table
        .on(address::describe_addresses, action_alone)
        .on_change(address::allocate_address, address::allocate_asks)
        .on_change(address::associate_address, address::associate_asks)
        .on_change(address::disassociate_address, address::disassociate_asks)
        .on_change(address::release_address, address::release_asks)
        .on(address::describe_addresses_attribute, action_alone)
        .on_change(address::modify_address_attribute, address::modify_asks)
        .on_change(address::reset_address_attribute, address::reset_asks)
}

fn gateways(table: Table) -> Table {
    table
        .on(internet_gateway::describe_internet_gateways, action_alone)
        .on_change(internet_gateway::create_internet_gateway, internet_gateway::create_asks)
        .on_change(internet_gateway::attach_internet_gateway, internet_gateway::attach_asks)
        .on_change(internet_gateway::detach_internet_gateway, internet_gateway::detach_asks)
        .on_change(internet_gateway::delete_internet_gateway, internet_gateway::delete_asks)
        .on(nat_gateway::describe_nat_gateways, action_alone)
        .on_change(nat_gateway::create_nat_gateway, nat_gateway::create_asks)
        .on_change(nat_gateway::delete_nat_gateway, nat_gateway::delete_asks)
}

fn route_tables(table: Table) -> Table {
    table
        .on(route_table::describe_route_tables, action_alone)
        .on_change(route_table::create_route_table, route_table::create_asks)
        .on_change(route_table::delete_route_table, route_table::delete_asks)
        .on_change(route_table::create_route, route_table::create_route_asks)
        .on_change(route_table::replace_route, route_table::replace_route_asks)
        .on_change(route_table::delete_route, route_table::delete_route_asks)
        .on_change(route_table::associate_route_table, route_table::associate_asks)
        .on_change(route_table::disassociate_route_table, route_table::disassociate_asks)
        .on_change(route_table::replace_route_table_association, route_table::replace_association_asks)
        .on_change(route_table::enable_vgw_route_propagation, route_table::enable_propagation_asks)
        .on_change(route_table::disable_vgw_route_propagation, route_table::disable_propagation_asks)
}

fn network_acls(table: Table) -> Table {
    table
        .on(network_acl::describe_network_acls, action_alone)
        .on_change(network_acl::create_network_acl, network_acl::create_asks)
        .on_change(network_acl::delete_network_acl, network_acl::delete_asks)
        .on_change(network_acl::create_network_acl_entry, network_acl::create_entry_asks)
        .on_change(network_acl::replace_network_acl_entry, network_acl::replace_entry_asks)
        .on_change(network_acl::delete_network_acl_entry, network_acl::delete_entry_asks)
        .on_change(network_acl::replace_network_acl_association, network_acl::replace_association_asks)
}

fn vpcs(table: Table) -> Table {
    table
        .on(vpc::describe_vpcs, action_alone)
        .on_change(vpc::create_vpc, vpc::create_asks)
        .on_change(vpc::create_default_vpc, action_alone)
        .on_change(vpc::delete_vpc, vpc::delete_asks)
        .on(vpc::describe_vpc_attribute, vpc::describe_asks)
        .on_change(vpc::modify_vpc_attribute, vpc::modify_asks)
        .on_change(vpc::associate_vpc_cidr_block, vpc::associate_asks)
        .on_change(vpc::disassociate_vpc_cidr_block, action_alone)
        .on(vpc::describe_vpc_classic_link, action_alone)
        .on(vpc::describe_vpc_classic_link_dns_support, action_alone)
        .on(vpc_endpoint::describe_vpc_endpoints, action_alone)
        .on(subnet::describe_subnets, action_alone)
        .on_change(subnet::create_subnet, subnet::create_asks)
        .on_change(subnet::create_default_subnet, action_alone)
        .on_change(subnet::delete_subnet, subnet::delete_asks)
        .on_change(subnet::modify_subnet_attribute, subnet::modify_asks)
        .on(dhcp_options::describe_dhcp_options, action_alone)
        .on_change(dhcp_options::create_dhcp_options, dhcp_options::create_asks)
        .on_change(dhcp_options::delete_dhcp_options, dhcp_options::delete_asks)
        .on_change(dhcp_options::associate_dhcp_options, dhcp_options::associate_asks)
}

fn security_groups(table: Table) -> Table {
    use security_group as group;
    table
        .on(group::describe_security_groups, action_alone)
        .on(group::describe_security_group_rules, action_alone)
        .on(group::describe_security_group_references, action_alone)
        .on_change(group::create_security_group, group::create_asks)
        .on_change(group::delete_security_group, group::delete_asks)
        .on_change(group::authorize_security_group_ingress, group::authorize_ingress_asks)
        .on_change(group::authorize_security_group_egress, group::authorize_egress_asks)
        .on_change(group::revoke_security_group_ingress, group::revoke_ingress_asks)
        .on_change(group::revoke_security_group_egress, group::revoke_egress_asks)
        .on_change(group::modify_security_group_rules, group::modify_asks)
        .on_change(group::update_security_group_rule_descriptions_ingress, group::describe_ingress_asks)
        .on_change(group::update_security_group_rule_descriptions_egress, group::describe_egress_asks)
}

fn prefix_lists(table: Table) -> Table {
    use prefix_list as list;
    table
        .on(list::describe_prefix_lists, action_alone)
        .on(list::describe_managed_prefix_lists, action_alone)
        .on(list::get_managed_prefix_list_entries, list::entries_asks)
        .on(list::get_managed_prefix_list_associations, list::associations_asks)
        .on_change(list::create_managed_prefix_list, list::create_asks)
        .on_change(list::modify_managed_prefix_list, list::modify_asks)
        .on_change(list::restore_managed_prefix_list_version, list::restore_asks)
        .on_change(list::delete_managed_prefix_list, list::delete_asks)
}

fn tags(table: Table) -> Table {
    table
        .on_change(tag::create_tags, tag::create_asks)
        .on_change(tag::delete_tags, tag::delete_asks)
        .on(tag::describe_tags, action_alone)
}
