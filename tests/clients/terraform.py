"""What Terraform's AWS provider does for an `aws_instance`: the same calls in the same order, and of their
answers the same members, read as it reads them: what it takes for given is a KeyError where it is missing.

`config` has the argument names of the resource; so has what `read` returns, the state.
"""

import base64
import hashlib

import botocore.exceptions
from cloud import wait_until

STATE_SECONDS = 60


def pairs(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def filters(**values):
    """`attachment__instance_id` is `attachment.instance-id`."""
    return [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in values.items()]


def only(items):
    """The provider refuses an answer that does not have exactly one."""
    [item] = items
    return item


class AwsInstance:
    def __init__(self, ec2, sts):
        self.ec2, self.sts = ec2, sts

    def configure(self):
        """What the provider asks before any resource."""
        self.account = self.sts.get_caller_identity()["Account"]
        platforms = self.ec2.describe_account_attributes(AttributeNames=["supported-platforms"])
        values = only(platforms["AccountAttributes"])["AttributeValues"]
        return [value["AttributeValue"] for value in values]

    def create(self, config, token):
        specifications = [{"ResourceType": "instance", "Tags": pairs(config["tags"])}]
        if config.get("volume_tags"):
            specifications.append({"ResourceType": "volume", "Tags": pairs(config["volume_tags"])})
        launch = {
            "BlockDeviceMappings": [self._root(config)], "ClientToken": token, "DisableApiTermination": False,
            "EbsOptimized": False, "HibernationOptions": {"Configured": False}, "ImageId": config["ami"],
            "InstanceType": config["instance_type"], "KeyName": config["key_name"], "MaxCount": 1, "MinCount": 1,
            "MetadataOptions": self._metadata(config["metadata_options"]), "Monitoring": {"Enabled": False},
            "Placement": {"AvailabilityZone": config.get("availability_zone", "")}, "TagSpecifications": specifications,
            "UserData": config["user_data"],
        }
        if "credit_specification" in config:
            kind = only(self.ec2.describe_instance_types(InstanceTypes=[config["instance_type"]])["InstanceTypes"])
            if kind["BurstablePerformanceSupported"]:
                launch["CreditSpecification"] = {"CpuCredits": config["credit_specification"]}
        if "subnet_id" in config:
            launch["NetworkInterfaces"] = [{"DeviceIndex": 0, "SubnetId": config["subnet_id"],
                                            "Groups": config["vpc_security_group_ids"], "PrivateIpAddress": config["private_ip"]}]
        else:
            launch["SecurityGroups"] = config["security_groups"]
        one = self.ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
        self.wait(one, "running")
        return one

    def _root(self, config):
        image = only(self.ec2.describe_images(ImageIds=[config["ami"]])["Images"])
        names = [mapping["DeviceName"] for mapping in image["BlockDeviceMappings"]]
        name = image["RootDeviceName"] if image["RootDeviceName"] in names or not names else names[0]
        return {"DeviceName": name, "Ebs": {"DeleteOnTermination": True, "VolumeSize": config["root_block_device"]["volume_size"],
                                            "VolumeType": config["root_block_device"]["volume_type"]}}

    @staticmethod
    def _metadata(options):
        asked = {"HttpEndpoint": options["http_endpoint"]}
        if options["http_endpoint"] == "enabled":
            asked.update(HttpTokens=options["http_tokens"], HttpPutResponseHopLimit=options["http_put_response_hop_limit"],
                         InstanceMetadataTags=options["instance_metadata_tags"])
        return asked

    def find(self, one):
        """Nothing when it is gone for Terraform."""
        try:
            answer = self.ec2.describe_instances(InstanceIds=[one])
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "InvalidInstanceID.NotFound":
                return None
            raise
        found = only(only(answer["Reservations"])["Instances"])
        return found if found["InstanceId"] == one else None

    def wait(self, one, state):
        wait_until(f"{one} {state}", lambda: self.find(one)["State"]["Name"] == state, STATE_SECONDS)

    def attribute(self, one, name):
        answer = self.ec2.describe_instance_attribute(InstanceId=one, Attribute=name)
        return answer[name[0].upper() + name[1:]]

    def read(self, one, config):
        found = self.find(one)
        if found is None or found["State"]["Name"] == "terminated":
            return None
        kind = only(self.ec2.describe_instance_types(InstanceTypes=[found["InstanceType"]])["InstanceTypes"])
        template = self.ec2.describe_tags(Filters=filters(resource_id=one, key="aws:ec2launchtemplate:id"))["Tags"]
        placement, options, names = found["Placement"], found["MetadataOptions"], found["PrivateDnsNameOptions"]
        state = {
            "instance_state": found["State"]["Name"], "availability_zone": placement["AvailabilityZone"],
            "placement_group": placement["GroupName"], "tenancy": placement["Tenancy"],
            "cpu_core_count": found["CpuOptions"]["CoreCount"], "cpu_threads_per_core": found["CpuOptions"]["ThreadsPerCore"],
            "hibernation": found["HibernationOptions"]["Configured"], "enclave_options": found["EnclaveOptions"]["Enabled"],
            "maintenance_options": found["MaintenanceOptions"]["AutoRecovery"],
            "metadata_options": {"http_endpoint": options["HttpEndpoint"], "http_tokens": options["HttpTokens"],
                                 "http_put_response_hop_limit": options["HttpPutResponseHopLimit"],
                                 "instance_metadata_tags": options["InstanceMetadataTags"]},
            "private_dns_name_options": (names["EnableResourceNameDnsAAAARecord"], names["EnableResourceNameDnsARecord"],
                                         names["HostnameType"]),
            "ami": found["ImageId"], "instance_type": found["InstanceType"], "key_name": found["KeyName"],
            "public_dns": found["PublicDnsName"], "public_ip": found.get("PublicIpAddress", ""),
            "private_dns": found["PrivateDnsName"], "private_ip": found["PrivateIpAddress"],
            "launch_template": template, "ebs_optimized": found["EbsOptimized"],
            "monitoring": found["Monitoring"]["State"] in ("enabled", "pending"),
            "tags": {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])},
            "arn": f"arn:aws:ec2:{self.ec2.meta.region_name}:{self.account}:instance/{one}",
        }
        state.update(self._primary_interface(found))
        if config.get("volume_tags"):
            [volume] = self.volumes_of(one)
            tags = self.ec2.describe_tags(Filters=filters(resource_id=volume))["Tags"]
            state["volume_tags"] = {tag["Key"]: tag["Value"] for tag in tags}
        state.update(self._groups(found))
        state["instance_initiated_shutdown_behavior"] = self.attribute(one, "instanceInitiatedShutdownBehavior")["Value"]
        state.update(self._block_devices(found))
        state["disable_api_stop"] = self.attribute(one, "disableApiStop")["Value"]
        state["disable_api_termination"] = self.attribute(one, "disableApiTermination")["Value"]
        state["user_data"] = hashlib.sha1(base64.b64decode(self.attribute(one, "userData")["Value"])).hexdigest()
        state["credit_specification"] = self._credits(one) if kind["BurstablePerformanceSupported"] else None
        return state

    def _primary_interface(self, found):
        primary = only(port for port in found["NetworkInterfaces"] if port["Attachment"]["DeviceIndex"] == 0)
        return {
            "subnet_id": primary["SubnetId"], "primary_network_interface_id": primary["NetworkInterfaceId"],
            "ipv6_address_count": len(primary["Ipv6Addresses"]), "source_dest_check": primary["SourceDestCheck"],
            "associate_public_ip_address": "Association" in primary,
            "secondary_private_ips": [a["PrivateIpAddress"] for a in primary["PrivateIpAddresses"] if not a["Primary"]],
        }

    def _groups(self, found):
        vpc = only(self.ec2.describe_vpcs(VpcIds=[found["VpcId"]])["Vpcs"])
        groups = found["SecurityGroups"]
        return {"vpc_security_group_ids": [group["GroupId"] for group in groups],
                "security_groups": [group["GroupName"] for group in groups] if vpc["IsDefault"] else []}

    def _block_devices(self, found):
        mapped = {mapping["Ebs"]["VolumeId"]: mapping for mapping in found["BlockDeviceMappings"]}
        state = {"ebs_block_device": []}
        for volume in self.ec2.describe_volumes(VolumeIds=list(mapped))["Volumes"]:
            mapping = mapped[volume["VolumeId"]]
            device = {
                "volume_id": volume["VolumeId"], "delete_on_termination": mapping["Ebs"]["DeleteOnTermination"],
                "volume_size": volume["Size"], "volume_type": volume["VolumeType"], "encrypted": volume["Encrypted"],
                "device_name": mapping["DeviceName"], "iops": volume.get("Iops", 0), "throughput": volume.get("Throughput", 0),
            }
            if mapping["DeviceName"] == found["RootDeviceName"]:
                state["root_block_device"] = device
            else:
                state["ebs_block_device"].append(device)
        return state

    def _credits(self, one):
        answer = self.ec2.describe_instance_credit_specifications(InstanceIds=[one])
        credit = only(answer["InstanceCreditSpecifications"])
        return credit["CpuCredits"] if credit["InstanceId"] == one else None

    def volumes_of(self, one):
        answer = self.ec2.describe_volumes(Filters=filters(attachment__instance_id=one))
        return [volume["VolumeId"] for volume in answer["Volumes"]]

    def update(self, one, old, new):
        changed = {name for name in new if new[name] != old.get(name)}
        if "volume_tags" in changed:
            for volume in self.volumes_of(one):
                self._retag(volume, old["volume_tags"], new["volume_tags"])
        if "source_dest_check" in changed:
            self.ec2.modify_instance_attribute(InstanceId=one, SourceDestCheck={"Value": new["source_dest_check"]})
        if "instance_type" in changed:
            self._stopped(one, InstanceType={"Value": new["instance_type"]})
        if "user_data" in changed:
            self._stopped(one, UserData={"Value": new["user_data"].encode()})
        if "disable_api_stop" in changed:
            self.ec2.modify_instance_attribute(InstanceId=one, DisableApiStop={"Value": new["disable_api_stop"]})
        if "disable_api_termination" in changed:
            self.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": new["disable_api_termination"]})
        if "instance_initiated_shutdown_behavior" in changed:
            self.ec2.modify_instance_attribute(
                InstanceId=one, InstanceInitiatedShutdownBehavior={"Value": new["instance_initiated_shutdown_behavior"]})
        if "metadata_options" in changed:
            self.ec2.modify_instance_metadata_options(InstanceId=one, **self._metadata(new["metadata_options"]))
            wait_until("metadata options are applied",
                       lambda: self.find(one)["MetadataOptions"]["State"] == "applied", STATE_SECONDS)
        if "tags" in changed:
            self._retag(one, old["tags"], new["tags"])
        return self.read(one, new)

    def _stopped(self, one, **attribute):
        self.ec2.stop_instances(InstanceIds=[one])
        self.wait(one, "stopped")
        self.ec2.modify_instance_attribute(InstanceId=one, **attribute)
        self.ec2.start_instances(InstanceIds=[one])
        self.wait(one, "running")

    def _retag(self, resource, old, new):
        removed = {key: value for key, value in old.items() if key not in new}
        updated = {key: value for key, value in new.items() if old.get(key) != value}
        if removed:
            self.ec2.delete_tags(Resources=[resource], Tags=pairs(removed))
        if updated:
            self.ec2.create_tags(Resources=[resource], Tags=pairs(updated))

    def delete(self, one):
        self.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": False})
        self.ec2.terminate_instances(InstanceIds=[one])
        self.wait(one, "terminated")
