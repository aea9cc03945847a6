"""Clients of ten years: boto 2 (2014-10-01), libcloud (SigV2 GET, 0-based lists), euca2ools' forms."""

import hashlib
import unittest
import urllib.parse
import xml.etree.ElementTree

from cloud import Cloud, wait_until
from raw import signed_v4


def setUpModule():
    global cloud, host, port
    cloud = Cloud(nodes=2).__enter__()
    address = urllib.parse.urlsplit(cloud.endpoint)
    host, port = address.hostname, address.port


def tearDownModule():
    cloud.__exit__(None)


class Boto2(unittest.TestCase):
    def setUp(self):
        import boto.ec2.connection
        import boto.ec2.regioninfo
        region = boto.ec2.regioninfo.RegionInfo(name=cloud.env["AWS_DEFAULT_REGION"], endpoint=host)
        self.ec2 = boto.ec2.connection.EC2Connection(
            cloud.env["AWS_ACCESS_KEY_ID"], cloud.env["AWS_SECRET_ACCESS_KEY"], region=region, host=host, port=port,
            is_secure=False, path="/")
        # boto 2 reads region and service out of the host name, and 127.0.0.1 names neither.
        self.ec2.auth_region_name = cloud.env["AWS_DEFAULT_REGION"]
        self.ec2.auth_service_name = "ec2"

    def test_launch_tag_stop_and_terminate(self):
        image = self.ec2.get_all_images(owners=["self"], filters={"image-type": "machine"})[0]
        reservation = image.run(1, 1, instance_type="t3.micro", user_data="#!/bin/sh\n")
        [instance] = reservation.instances
        wait_until("running", lambda: instance.update() == "running")
        instance.add_tag("Name", "old but fine")
        self.assertEqual(self.ec2.get_only_instances([instance.id])[0].tags, {"Name": "old but fine"})
        self.assertEqual(instance.get_attribute("instanceType")["instanceType"], "t3.micro")
        instance.terminate()
        wait_until("terminated", lambda: instance.update() == "terminated")

    def test_zones_keys_and_groups(self):
        self.assertTrue(self.ec2.get_all_zones())
        key = self.ec2.create_key_pair("boto2")
        self.assertIn("RSA PRIVATE KEY", key.material)
        self.assertTrue(self.ec2.delete_key_pair("boto2"))
        self.assertIn("default", [group.name for group in self.ec2.get_all_security_groups()])

    def test_a_group_is_used_without_any_vpc(self):
        import boto.exception
        web = self.ec2.create_security_group("boto2-web", "as it was")
        self.assertTrue(web.authorize("tcp", 80, 80, "0.0.0.0/0"))
        self.assertTrue(self.ec2.authorize_security_group("boto2-web", ip_protocol="tcp", from_port=22, to_port=22, cidr_ip="10.0.0.0/8"))
        self.assertTrue(self.ec2.authorize_security_group_deprecated("boto2-web", src_security_group_name="default",
                                                                     src_security_group_owner_id=web.owner_id))
        [web] = self.ec2.get_all_security_groups(groupnames=["boto2-web"])
        told = {(rule.ip_protocol, rule.from_port, rule.to_port) for rule in web.rules}
        self.assertEqual(told, {("tcp", "80", "80"), ("tcp", "22", "22"), ("tcp", "0", "65535"), ("udp", "0", "65535"),
                                ("icmp", "-1", "-1")})
        self.assertTrue(self.ec2.revoke_security_group("boto2-web", ip_protocol="tcp", from_port=22, to_port=22, cidr_ip="10.0.0.0/8"))
        image = self.ec2.get_all_images(filters={"image-type": "machine"})[0]
        instance = image.run(instance_type="t3.micro", security_groups=["boto2-web"]).instances[0]
        wait_until("running", lambda: instance.update() == "running")
        self.assertEqual([group.name for group in instance.groups], ["boto2-web"])
        self.public_addresses(instance)
        with self.assertRaises(boto.exception.EC2ResponseError) as caught:
            self.ec2.delete_security_group("boto2-web")
        self.assertEqual(caught.exception.error_code, "InvalidGroup.InUse")
        instance.terminate()
        wait_until("terminated", lambda: instance.update() == "terminated")
        self.assertTrue(self.ec2.delete_security_group("boto2-web"))

    def public_addresses(self, instance):
        """It got one with its launch; another takes its place, and that one's own comes no more."""
        own = instance.ip_address
        self.assertNotEqual(own, instance.private_ip_address)
        address = self.ec2.allocate_address()
        self.assertNotEqual(address.public_ip, own)
        self.assertTrue(self.ec2.associate_address(instance_id=instance.id, public_ip=address.public_ip))
        instance.update()
        self.assertEqual(instance.ip_address, address.public_ip)
        [told] = self.ec2.get_all_addresses([address.public_ip])
        self.assertEqual((told.instance_id, told.private_ip_address), (instance.id, instance.private_ip_address))
        self.assertTrue(self.ec2.disassociate_address(public_ip=address.public_ip))
        instance.update()
        self.assertFalse(instance.ip_address)
        self.assertTrue(self.ec2.release_address(public_ip=address.public_ip))
        self.assertNotIn(address.public_ip, [one.public_ip for one in self.ec2.get_all_addresses()])

    def test_errors_carry_code_and_request_id(self):
        import boto.exception
        with self.assertRaises(boto.exception.EC2ResponseError) as caught:
            self.ec2.get_only_instances(["i-0123456789abcdef0"])
        self.assertEqual(caught.exception.error_code, "InvalidInstanceID.NotFound")
        self.assertTrue(caught.exception.request_id)


class Libcloud(unittest.TestCase):
    def setUp(self):
        from libcloud.compute.drivers.ec2 import EC2NodeDriver
        self.driver = EC2NodeDriver(cloud.env["AWS_ACCESS_KEY_ID"], cloud.env["AWS_SECRET_ACCESS_KEY"], secure=False,
                                    host=host, port=port, region="us-east-1", signature_version="2")

    def test_create_list_tag_and_destroy_a_node(self):
        image = [i for i in self.driver.list_images(ex_owner="self") if i.id.startswith("ami-")][0]
        size = [s for s in self.driver.list_sizes() if s.id == "t3.micro"][0]
        node = self.driver.create_node(name="from-libcloud", image=image, size=size)
        [(node, addresses)] = self.driver.wait_until_running([node], wait_period=0.2, timeout=60, ssh_interface="private_ips")
        self.assertTrue(addresses)
        self.driver.ex_create_tags(node, {"role": "test"})
        self.assertEqual(self.driver.ex_describe_tags(node)["role"], "test")
        self.assertTrue(self.driver.destroy_node(node))

    def test_list_locations_and_key_pairs(self):
        self.assertTrue(self.driver.list_locations())
        self.driver.create_key_pair("libcloud")
        self.assertIn("libcloud", [k.name for k in self.driver.list_key_pairs()])


class Euca2ools(unittest.TestCase):
    """The forms that euca2ools 3.4 send, as recorded; the program itself needs a Python 2 (`cargo xtask euca2ools`)."""

    def form(self, action, **parameters):
        body = urllib.parse.urlencode({"Action": action, "Version": "2015-10-01", **parameters}).encode()
        # Told an endpoint and no region they sign for `undefined-PID`.
        answer = signed_v4(cloud, None, body=body, region="undefined-4711", extra_signed={
            "Accept": "*/*", "Accept-Encoding": "identity", "Content-Length": str(len(body)),
            "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()})
        return answer.well_formed()

    def served(self, action, **parameters):
        """The answer's root element, without name spaces."""
        answer = self.form(action, **parameters)
        self.assertEqual(answer.status, 200, f"{action}: {answer.body}")
        space = 'xmlns="http://ec2.amazonaws.com/doc/2015-10-01/"'
        self.assertIn(space, answer.body)
        return xml.etree.ElementTree.fromstring(answer.body.replace(space, ""))

    def state(self, one):
        shown = self.served("DescribeInstances", **{"InstanceId.1": one})
        return shown.findtext(".//instancesSet/item/instanceState/name")

    def wait(self, state, *ids):
        for one in ids:
            wait_until(f"{one} {state}", lambda: self.state(one) == state)

    def test_a_session(self):
        image = self.served("DescribeImages", **{"Owner.1": "self", "Filter.1.Name": "image-type",
                                                 "Filter.1.Value.1": "machine"}).findtext(".//imageId")
        key = self.served("CreateKeyPair", KeyName="euca")
        self.assertIn("PRIVATE KEY", key.findtext("keyMaterial"))
        zone = self.served("DescribeAvailabilityZones").findtext(".//zoneName")
        launched = self.served("RunInstances", ImageId=image, MinCount="1", MaxCount="2", KeyName="euca", **{
            "InstanceType": "t3.micro", "Placement.AvailabilityZone": zone, "UserData": "IyEvYmluL3No", "ClientToken": "euca",
            "InstanceInitiatedShutdownBehavior": "terminate", "BlockDeviceMapping.1.DeviceName": "/dev/sda1",
            "BlockDeviceMapping.1.Ebs.VolumeSize": "9", "BlockDeviceMapping.1.Ebs.VolumeType": "gp2",
            "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true"})
        self.assertTrue(launched.findtext("reservationId"))
        one, two = [item.findtext("instanceId") for item in launched.find("instancesSet")]
        self.wait("running", one, two)
        [item] = self.served("DescribeInstances", **{
            "InstanceId.1": one, "Filter.1.Name": "instance-state-name", "Filter.1.Value.1": "running"}).findall(
                ".//instancesSet/item")
        # What `euca-describe-instances` prints; it ends with a trace where one of the nested ones is absent.
        for name in ("imageId", "dnsName", "privateDnsName", "launchTime", "keyName", "monitoring/state", "groupSet",
                     "placement/availabilityZone", "placement/tenancy", "instanceState/name", "networkInterfaceSet"):
            self.assertIsNotNone(item.find(name), name)
        for address in item.iterfind(".//privateIpAddressesSet/item"):
            self.assertIn(address.findtext("primary"), ("true", "false"))

        self.served("CreateTags", **{"ResourceId.1": one, "Tag.1.Key": "Name", "Tag.1.Value": "hello",
                                     "Tag.2.Key": "empty", "Tag.2.Value": ""})
        tags = self.served("DescribeTags", **{"Filter.1.Name": "resource-id", "Filter.1.Value.1": one}).iterfind(".//item")
        self.assertEqual({tag.findtext("key"): tag.findtext("value") for tag in tags}, {"Name": "hello", "empty": ""})
        self.assertEqual(self.served("GetConsoleOutput", InstanceId=one).findtext("instanceId"), one)
        self.served("RebootInstances", **{"InstanceId.1": one})
        self.served("StopInstances", Force="true", **{"InstanceId.1": one})
        self.wait("stopped", one)
        self.served("StartInstances", **{"InstanceId.1": one})
        self.wait("running", one)
        ended = self.served("TerminateInstances", **{"InstanceId.1": one, "InstanceId.2": two})
        self.assertEqual({item.findtext("instanceId") for item in ended.find("instancesSet")}, {one, two})
        self.wait("terminated", one, two)
        self.served("DeleteKeyPair", KeyName="euca")

    def test_only_their_own_word_for_no_region_is_taken_for_one(self):
        for region in ("undefined-", "undefined-x", "mars-1"):
            answer = signed_v4(cloud, {"Action": "DescribeRegions", "Version": "2015-10-01"}, region=region)
            self.assertEqual((answer.status, answer.code), (401, "AuthFailure"), region)

    def test_describe_availability_zones_verbose_tells_slots_per_type(self):
        zones = self.served("DescribeAvailabilityZones", **{"ZoneName.1": "verbose"})
        shown = {item.findtext("zoneName"): item.findtext("zoneState") for item in zones.iter("item")}
        micro = next(state for name, state in shown.items() if "t3.micro" in name)
        self.assertRegex(micro, r"^\d+ / \d+ ")

    def test_every_describe_of_the_old_version_is_answered_in_it(self):
        for action in ("DescribeInstances", "DescribeImages", "DescribeKeyPairs", "DescribeRegions", "DescribeTags",
                       "DescribeSecurityGroups", "DescribeAccountAttributes", "DescribeVpcs", "DescribeSubnets"):
            self.served(action)
        self.served("DescribeInstanceStatus", IncludeAllInstances="false")


if __name__ == "__main__":
    unittest.main(verbosity=2)
