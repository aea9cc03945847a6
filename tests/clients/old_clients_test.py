"""Clients of ten years: boto 2 (2014-10-01), libcloud (SigV2 GET, 0-based lists), euca2ools' forms."""

import unittest
import urllib.parse

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
    def form(self, **parameters):
        answer = signed_v4(cloud, {"Version": "2015-10-01", **parameters},
                           extra_signed={"User-Agent": "euca2ools/3.4.1", "Accept": "*/*", "Accept-Encoding": "identity"})
        return answer.well_formed()

    def test_describe_availability_zones_verbose_tells_slots_per_type(self):
        answer = self.form(Action="DescribeAvailabilityZones", **{"ZoneName.1": "verbose"})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertIn("t3.micro", answer.body)
        self.assertRegex(answer.body, r"\d+ / \d+")

    def test_every_describe_of_the_old_version_is_answered_in_it(self):
        for action in ("DescribeInstances", "DescribeImages", "DescribeKeyPairs", "DescribeRegions", "DescribeTags",
                       "DescribeSecurityGroups", "DescribeInstanceStatus"):
            answer = self.form(Action=action)
            self.assertEqual(answer.status, 200, f"{action}: {answer.body}")
            self.assertIn('xmlns="http://ec2.amazonaws.com/doc/2015-10-01/"', answer.body)


if __name__ == "__main__":
    unittest.main(verbosity=2)
