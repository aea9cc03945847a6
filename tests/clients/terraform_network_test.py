"""A network of Terraform's: a VPC with a public and a private subnet, gateways, route tables, a group, two instances and
elastic addresses, created, read back without a difference, and destroyed in the order of what needs what."""

import unittest

from cloud import Cloud
from terraform import AwsInstance
from terraform_network import (
    Eip, InternetGateway, KeyPair, NatGateway, NetworkInterface, NetworkInterfaceAttachment, Plan, RouteTable,
    RouteTableAssociation, SecurityGroup, Subnet, Vpc)
from terraform_prefix_list import IngressRule, ManagedPrefixList


def setUpModule():
    global cloud, ec2, instances
    cloud = Cloud(nodes=2).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2 = cloud.boto3()
    instances = AwsInstance(ec2, cloud.boto3("sts"))
    instances.configure()


class Machine:
    """`aws_instance`, with the configuration that it is read by."""

    def create(self, config):
        self.config = config
        return instances.create(config, config["token"])

    def read(self, one):
        return instances.read(one, self.config)

    def delete(self, one):
        instances.delete(one)


SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def plan_of(prefix, parallelism):
    """`prefix` tells two plans of one account apart."""
    plan = Plan(parallelism)
    tags = {"Name": prefix}
    image = ec2.describe_images(Owners=["self"], Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"][0]

    def machine(subnet, address):
        return lambda ids: {
            "ami": image["ImageId"], "instance_type": "t3.micro", "key_name": ids["key"], "user_data": "#!/bin/sh\n",
            "tags": tags, "subnet_id": ids[subnet], "vpc_security_group_ids": [ids["group"]], "private_ip": address,
            "root_block_device": {"volume_size": 8, "volume_type": "gp3"}, "token": f"{prefix}-{address}",
            "metadata_options": {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 2,
                                 "instance_metadata_tags": "disabled"}}

    def subnet(cidr, public):
        return lambda ids: {"vpc_id": ids["vpc"], "cidr_block": cidr, "map_public_ip_on_launch": public, "tags": tags}

    def table(token, route):
        return lambda ids: {"vpc_id": ids["vpc"], "token": f"{prefix}-{token}", "tags": tags, "default_route": route(ids)}

    def association(table, subnet):
        return lambda ids: {"route_table_id": ids[table], "subnet_id": ids[subnet]}

    plan.add("vpc", Vpc(ec2), [], lambda _: {"cidr_block": "10.20.0.0/16", "enable_dns_hostnames": True, "tags": tags})
    plan.add("public", Subnet(ec2), ["vpc"], subnet("10.20.1.0/24", True))
    plan.add("private", Subnet(ec2), ["vpc"], subnet("10.20.2.0/24", False))
    plan.add("igw", InternetGateway(ec2), ["vpc"], lambda ids: {"vpc_id": ids["vpc"], "tags": tags})
    plan.add("nat_eip", Eip(ec2), ["igw"], lambda _: {"tags": tags})
    plan.add("nat", NatGateway(ec2), ["nat_eip", "public", "igw"], lambda ids: {
        "allocation_id": ids["nat_eip"], "subnet_id": ids["public"], "token": f"{prefix}-nat", "tags": tags})
    plan.add("public_table", RouteTable(ec2), ["vpc", "igw"], table("public", lambda ids: {"GatewayId": ids["igw"]}))
    plan.add("private_table", RouteTable(ec2), ["vpc", "nat"], table("private", lambda ids: {"NatGatewayId": ids["nat"]}))
    plan.add("public_association", RouteTableAssociation(ec2), ["public", "public_table"],
             association("public_table", "public"))
    plan.add("private_association", RouteTableAssociation(ec2), ["private", "private_table"],
             association("private_table", "private"))
    plan.add("group", SecurityGroup(ec2), ["vpc"], lambda ids: {
        "name": prefix, "vpc_id": ids["vpc"], "ingress": [SSH], "tags": tags})
    plan.add("list", ManagedPrefixList(ec2), [], lambda _: {
        "name": prefix, "max_entries": 3, "tags": tags,
        "entry": [{"Cidr": "10.0.0.0/8", "Description": "here"}, {"Cidr": "192.0.2.0/24"}]})
    plan.add("other_group", SecurityGroup(ec2), ["vpc"], lambda ids: {
        "name": f"{prefix}-other", "vpc_id": ids["vpc"], "ingress": [SSH], "tags": tags})
    plan.add("rule", IngressRule(ec2), ["other_group", "list"], lambda ids: {
        "group": ids["other_group"], "prefix_list_id": ids["list"]})
    plan.add("key", KeyPair(ec2), [], lambda _: {"key_name": prefix})
    plan.add("front", Machine(), ["public", "group", "key"], machine("public", "10.20.1.10"))
    plan.add("back", Machine(), ["private", "group", "key"], machine("private", "10.20.2.10"))
    plan.add("second", NetworkInterface(ec2), ["private", "group"], lambda ids: {
        "subnet_id": ids["private"], "security_groups": [ids["group"]], "description": prefix, "tags": tags,
        "private_ips": ["10.20.2.50", "10.20.2.51"], "source_dest_check": False, "token": f"{prefix}-second"})
    plan.add("attachment", NetworkInterfaceAttachment(ec2), ["second", "back"], lambda ids: {
        "network_interface_id": ids["second"], "instance_id": ids["back"], "device_index": 1})
    plan.add("eip", Eip(ec2), ["front", "igw"], lambda ids: {"instance": ids["front"], "tags": tags})
    return plan


class Network(unittest.TestCase):
    maxDiff = None

    def checked(self, prefix, plan):
        """What must be read of it, every attribute but those that only the cloud can know."""
        ids, tags, read = plan.ids, {"Name": prefix}, plan.read()
        subnet = {"enable_dns64": False, "assign_ipv6_address_on_creation": False, "ipv6_native": False,
                  "private_dns_hostname_type_on_launch": "ip-name", "vpc_id": ids["vpc"], "tags": tags}
        vpc = read["vpc"]
        self.assertEqual(vpc, {
            "cidr_block": "10.20.0.0/16", "instance_tenancy": "default", "tags": tags, "is_default": False,
            "dhcp_options_id": vpc["dhcp_options_id"], "enable_dns_hostnames": True, "enable_dns_support": True,
            "enable_network_address_usage_metrics": False, "default_network_acl_id": vpc["default_network_acl_id"],
            "main_route_table_id": vpc["main_route_table_id"],
            "default_security_group_id": vpc["default_security_group_id"], "ipv6": []})
        self.assertEqual(read["public"], {**subnet, "cidr_block": "10.20.1.0/24", "map_public_ip_on_launch": True})
        self.assertEqual(read["private"], {**subnet, "cidr_block": "10.20.2.0/24", "map_public_ip_on_launch": False})
        self.assertEqual(read["igw"], {"vpc_id": ids["vpc"], "tags": tags})
        address = {"domain": "vpc", "public_ipv4_pool": "amazon", "tags": tags, "ptr_record": ""}
        nat_ip, ip = read["nat_eip"]["public_ip"], read["eip"]["public_ip"]
        self.assertEqual(read["nat_eip"], {**address, "instance": "", "public_ip": nat_ip})
        self.assertEqual(read["eip"], {**address, "instance": ids["front"], "public_ip": ip})
        self.assertEqual(read["nat"], {"allocation_id": ids["nat_eip"], "public_ip": nat_ip, "subnet_id": ids["public"],
                                       "connectivity_type": "public", "tags": tags})
        table = {"vpc_id": ids["vpc"], "tags": tags, "owner_id": instances.account, "propagating_vgws": []}
        self.assertEqual(read["public_table"], {**table, "route": [("0.0.0.0/0", ids["igw"], "", "active")]})
        self.assertEqual(read["private_table"], {**table, "route": [("0.0.0.0/0", "", ids["nat"], "active")]})
        for name, table in (("public", "public_table"), ("private", "private_table")):
            self.assertEqual(read[f"{name}_association"],
                             {"route_table_id": ids[table], "subnet_id": ids[name], "state": "associated"})
        self.assertEqual(read["group"], {
            "name": prefix, "vpc_id": ids["vpc"], "tags": tags, "description": "Managed by Terraform",
            "ingress": [("tcp", 22, 22, ["0.0.0.0/0"])], "egress": [("-1", 0, 0, ["0.0.0.0/0"])]})
        self.assertEqual(read["list"], {
            "address_family": "IPv4", "entry": [("10.0.0.0/8", "here"), ("192.0.2.0/24", "")], "max_entries": 3,
            "name": prefix, "owner_id": instances.account, "version": 1, "tags": tags, "arn": ids["list"]})
        self.assertEqual(read["rule"], {"group": ids["other_group"], "prefix_list_id": ids["list"], "ports": (443, 443),
                                        "cidr": None})
        self.assertEqual(read["second"], {
            "description": prefix, "interface_type": "interface", "owner_id": instances.account, "private_ip": "10.20.2.50",
            "private_dns_name": f"ip-10-20-2-50.{cloud.env['AWS_DEFAULT_REGION']}.compute.internal",
            "private_ips": ["10.20.2.50", "10.20.2.51"], "security_groups": [ids["group"]], "subnet_id": ids["private"],
            "source_dest_check": False, "tags": tags, "ipv6_addresses": [], "ipv4_prefixes": [], "outpost_arn": ""})
        self.assertEqual(read["attachment"], {"network_interface_id": ids["second"], "instance_id": ids["back"],
                                              "device_index": 1, "status": "attached", "network_card_index": 0})
        front, back = read["front"], read["back"]
        name = f"ec2-{ip.replace('.', '-')}.{cloud.env['AWS_DEFAULT_REGION']}.compute.internal"
        self.assertEqual((front["public_ip"], front["public_dns"], front["private_ip"]), (ip, name, "10.20.1.10"))
        self.assertEqual((back["public_ip"], back["public_dns"], back["private_ip"]), ("", "", "10.20.2.10"))
        self.assertEqual((front["associate_public_ip_address"], back["associate_public_ip_address"]), (True, False))
        for one, subnet in ((front, "public"), (back, "private")):
            self.assertEqual((one["subnet_id"], one["vpc_security_group_ids"]), (ids[subnet], [ids["group"]]))
        profiles = ec2.describe_iam_instance_profile_associations(
            Filters=[{"Name": "instance-id", "Values": [ids["front"]]}])
        self.assertEqual(profiles["IamInstanceProfileAssociations"], [])
        return read

    def applied_and_destroyed(self, prefix, parallelism):
        plan = plan_of(prefix, parallelism)
        plan.apply()
        read = self.checked(prefix, plan)
        self.assertEqual(plan.read(), read, "a refresh changes nothing")
        lists, one = ManagedPrefixList(ec2), plan.ids["list"]
        lists.describe_anew(one, "10.0.0.0/8", "there")
        lists.resize(one, 4)
        self.assertEqual(lists.read(one), {**read["list"], "max_entries": 4, "version": 3,
                                           "entry": [("10.0.0.0/8", "there"), ("192.0.2.0/24", "")]})
        plan.destroy()
        self.assertEqual({name: one for name, one in plan.read().items() if one is not None}, {})
        self.assertEqual(ec2.describe_addresses()["Addresses"], [])
        self.assertEqual([vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]], [])

    def test_one_after_the_other(self):
        self.applied_and_destroyed("serial", 1)

    def test_ten_at_a_time(self):
        self.applied_and_destroyed("parallel", 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
