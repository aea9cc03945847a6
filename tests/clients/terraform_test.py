"""An `aws_instance` of Terraform's: created, read back without a difference, changed, and destroyed."""

import copy
import hashlib
import unittest

import botocore.exceptions
from cloud import Cloud
from terraform import AwsInstance


def setUpModule():
    global cloud, ec2, terraform
    cloud = Cloud(nodes=2).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2 = cloud.boto3()
    terraform = AwsInstance(ec2, cloud.boto3("sts"))


def sha1(text):
    return hashlib.sha1(text.encode()).hexdigest()


class Instance(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.assertEqual(terraform.configure(), ["VPC"])
        images = ec2.describe_images(Owners=["self"], Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"]
        key = ec2.create_key_pair(KeyName=f"key-{self._testMethodName}"[:255])["KeyName"]
        self.config = {
            "ami": images[0]["ImageId"], "instance_type": "t3.micro", "key_name": key, "user_data": "#!/bin/sh\necho one\n",
            "tags": {"Name": "web", "stage": "test"}, "volume_tags": {"disk": "root"}, "security_groups": ["default"],
            "root_block_device": {"volume_size": 9, "volume_type": "gp3"}, "credit_specification": "standard",
            "metadata_options": {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 2,
                                 "instance_metadata_tags": "enabled"},
        }
        self.device = images[0]["RootDeviceName"]

    def state_of(self, one, config):
        """What must be read of an instance with that configuration, every attribute of it."""
        [instance] = ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"]
        [subnet] = [s for s in ec2.describe_subnets()["Subnets"] if s["AvailabilityZone"] == instance["Placement"]["AvailabilityZone"]]
        [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
        [kind] = ec2.describe_instance_types(InstanceTypes=[config["instance_type"]])["InstanceTypes"]
        burstable = config["instance_type"].startswith("t")
        given = {name: config[name] for name in (
            "ami", "instance_type", "key_name", "tags", "volume_tags", "metadata_options")}
        return {
            **given, "instance_state": "running", "availability_zone": subnet["AvailabilityZone"], "placement_group": "",
            "tenancy": "default", "cpu_core_count": kind["VCpuInfo"]["DefaultCores"],
            "cpu_threads_per_core": kind["VCpuInfo"]["DefaultThreadsPerCore"], "hibernation": False, "enclave_options": False,
            "maintenance_options": "default", "private_dns_name_options": (False, False, "ip-name"),
            "public_dns": "", "public_ip": "", "private_ip": instance["PrivateIpAddress"],
            "private_dns": f"ip-{instance['PrivateIpAddress'].replace('.', '-')}.{cloud.env['AWS_DEFAULT_REGION']}.compute.internal",
            "launch_template": [], "ebs_optimized": False, "monitoring": False,
            "arn": f"arn:aws:ec2:{cloud.env['AWS_DEFAULT_REGION']}:{terraform.account}:instance/{one}",
            "subnet_id": subnet["SubnetId"], "primary_network_interface_id": instance["NetworkInterfaces"][0]["NetworkInterfaceId"],
            "ipv6_address_count": 0, "source_dest_check": True, "associate_public_ip_address": False,
            "secondary_private_ips": [], "vpc_security_group_ids": [group["GroupId"]], "security_groups": ["default"],
            "instance_initiated_shutdown_behavior": config.get("instance_initiated_shutdown_behavior", "stop"),
            "ebs_block_device": [],
            "root_block_device": {**config["root_block_device"], "volume_id": terraform.volumes_of(one)[0], "encrypted": False,
                                  "delete_on_termination": True, "device_name": self.device, "iops": 3000, "throughput": 125},
            "disable_api_stop": config.get("disable_api_stop", False),
            "disable_api_termination": config.get("disable_api_termination", False), "user_data": sha1(config["user_data"]),
            "credit_specification": config["credit_specification"] if burstable else None,
        }

    def test_what_was_created_is_read_back_without_a_difference(self):
        one = terraform.create(self.config, "terraform-1")
        read = terraform.read(one, self.config)
        self.assertEqual(read, self.state_of(one, self.config))
        self.assertEqual(terraform.read(one, self.config), read, "a refresh changes nothing")
        terraform.delete(one)
        self.assertIsNone(terraform.read(one, self.config))

    def test_one_in_a_subnet_has_the_address_that_it_asks_for(self):
        subnet = ec2.describe_subnets()["Subnets"][0]
        address = subnet["CidrBlock"].rsplit(".", 1)[0] + ".200"
        [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
        config = {**self.config, "subnet_id": subnet["SubnetId"], "vpc_security_group_ids": [group["GroupId"]], "private_ip": address}
        one = terraform.create(config, "terraform-2")
        read = terraform.read(one, config)
        self.assertEqual(read, self.state_of(one, config))
        self.assertEqual((read["private_ip"], read["subnet_id"]), (address, subnet["SubnetId"]))
        terraform.delete(one)

    def test_each_change_is_read_back(self):
        one = terraform.create(self.config, "terraform-3")
        config = self.config
        for name, value in (
                ("tags", {"Name": "web-2", "owner": "ann"}),
                ("volume_tags", {"disk": "root-2"}),
                ("metadata_options", {"http_endpoint": "enabled", "http_tokens": "optional", "http_put_response_hop_limit": 1,
                                      "instance_metadata_tags": "disabled"}),
                ("user_data", "#!/bin/sh\necho two\n"),
                ("instance_type", "m5.large"),
                ("instance_initiated_shutdown_behavior", "terminate"),
                ("disable_api_termination", True),
                ("disable_api_stop", True),
                ("disable_api_stop", False)):
            with self.subTest(name, value=value):
                old, config = config, {**copy.deepcopy(config), name: value}
                self.assertEqual(terraform.update(one, old, config), self.state_of(one, config))
        terraform.delete(one)
        self.assertIsNone(terraform.read(one, config))

    def test_changes_by_calls_that_are_not_served_are_refused(self):
        one = terraform.create(self.config, "terraform-4")
        read = terraform.read(one, self.config)
        volume = read["root_block_device"]["volume_id"]
        for call, arguments in (
                (ec2.modify_volume, {"VolumeId": volume, "Size": 10}),
                (ec2.monitor_instances, {"InstanceIds": [one]}),
                (ec2.modify_instance_credit_specification,
                 {"InstanceCreditSpecifications": [{"InstanceId": one, "CpuCredits": "unlimited"}]})):
            with self.assertRaises(botocore.exceptions.ClientError) as caught:
                call(**arguments)
            self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidAction")
        self.assertEqual(terraform.read(one, self.config), read)
        terraform.delete(one)


if __name__ == "__main__":
    unittest.main(verbosity=2)
