"""Disk images in buckets: registered, imported and exported, and booted by real guests."""

import subprocess
import unittest

from real_cloud import BOOT_SECONDS, IMAGES, RealCloud, instance, new_key, ssh, wait_state, wait_until

from botocore.exceptions import ClientError  # noqa: E402

DISK = IMAGES / "tiny.disk.qcow2"
TASK_SECONDS = 240


def setUpModule():
    global cloud, ec2, s3, key
    cloud = RealCloud(number=45).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2, s3 = cloud.boto3(), cloud.s3()
    s3.create_bucket(Bucket="disks")
    key = new_key(cloud, ec2, "import-test")


def converted(name, *arguments):
    """The tiny disk in another format."""
    path = cloud.directory / name
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", *arguments, DISK, path], check=True)
    return path


def ended(describe, task_id):
    """The task once it is completed or deleted."""
    over = lambda: (task := describe(task_id))["Status"] in ("completed", "deleted") and task
    return wait_until(f"{task_id} is over", over, TASK_SECONDS)


def import_task(task_id):
    return ec2.describe_import_image_tasks(ImportTaskIds=[task_id])["ImportImageTasks"][0]


def export_task(task_id):
    return ec2.describe_export_image_tasks(ExportImageTaskIds=[task_id])["ExportImageTasks"][0]


def snapshot_task(task_id):
    return ec2.describe_import_snapshot_tasks(ImportTaskIds=[task_id])["ImportSnapshotTasks"][0]["SnapshotTaskDetail"]


def image(image_id):
    return ec2.describe_images(ImageIds=[image_id])["Images"][0]


class Disks(unittest.TestCase):
    def boots(self, image_id):
        [one] = cloud.launch(ec2, ImageId=image_id, KeyName="import-test")
        wait_state(ec2, one, "running")
        told = ssh(instance(ec2, one)["PrivateIpAddress"], key, "echo booted", seconds=BOOT_SECONDS)
        ec2.terminate_instances(InstanceIds=[one])
        wait_state(ec2, one, "terminated")
        self.assertEqual(told, "booted")

    def test_an_object_is_registered_where_it_lies_and_boots_when_it_is_gone(self):
        s3.upload_file(str(DISK), "disks", "tiny")
        image_id = ec2.register_image(Name="tiny object", ImageLocation="disks/tiny")["ImageId"]
        made = wait_until("it is made", lambda: (i := image(image_id))["State"] != "pending" and i, TASK_SECONDS)
        self.assertEqual(made["State"], "available", made)
        s3.delete_object(Bucket="disks", Key="tiny")
        self.boots(image_id)

    def test_a_disk_is_imported_boots_and_is_exported_as_it_came(self):
        s3.upload_file(str(converted("tiny.vmdk", "vmdk", "-o", "subformat=streamOptimized")), "disks", "in/tiny.vmdk")
        disk = {"Format": "VMDK", "Url": "s3://disks/in/tiny.vmdk"}
        task_id = ec2.import_image(Description="tiny", DiskContainers=[disk])["ImportTaskId"]
        task = ended(import_task, task_id)
        self.assertEqual(task["Status"], "completed", task)
        self.assertEqual(image(task["ImageId"])["Name"], task_id)
        self.boots(task["ImageId"])
        out = ec2.export_image(ImageId=task["ImageId"], DiskImageFormat="VHD",
                               S3ExportLocation={"S3Bucket": "disks", "S3Prefix": "out/"})
        task = ended(export_task, out["ExportImageTaskId"])
        self.assertEqual(task["Status"], "completed", task)
        vhd = cloud.directory / "out.vhd"
        s3.download_file("disks", f"out/{out['ExportImageTaskId']}.vhd", str(vhd))
        same = subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "vpc", DISK, vhd], capture_output=True, text=True)
        self.assertEqual(same.returncode, 0, same.stdout + same.stderr)
        task_id = ec2.import_image(DiskContainers=[{"UserBucket": {
            "S3Bucket": "disks", "S3Key": f"out/{out['ExportImageTaskId']}.vhd"}}])["ImportTaskId"]
        task = ended(import_task, task_id)
        self.assertEqual(task["Status"], "completed", task)
        self.boots(task["ImageId"])

    def test_a_disk_is_imported_as_a_snapshot_and_an_image_on_it_boots(self):
        s3.upload_file(str(converted("tiny.vhdx", "vhdx")), "disks", "in/tiny.vhdx")
        task_id = ec2.import_snapshot(DiskContainer={"UserBucket": {"S3Bucket": "disks", "S3Key": "in/tiny.vhdx"}})["ImportTaskId"]
        task = ended(snapshot_task, task_id)
        self.assertEqual(task["Status"], "completed", task)
        [snapshot] = ec2.describe_snapshots(SnapshotIds=[task["SnapshotId"]])["Snapshots"]
        self.assertEqual(snapshot["State"], "completed", snapshot)
        root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot["SnapshotId"]}}
        image_id = ec2.register_image(Name="on a snapshot", RootDeviceName="/dev/xvda", BlockDeviceMappings=[root])["ImageId"]
        with self.assertRaises(ClientError) as caught:
            ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidSnapshot.InUse")
        self.boots(image_id)
        gone = ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
        self.assertEqual([one["ReturnCode"] for one in gone["DeleteSnapshotResults"]], ["success"])
        self.assertEqual(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], [])

    def test_a_disk_that_reaches_for_other_files_is_refused(self):
        hostile = cloud.directory / "hostile.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", hostile, "1M"],
                       check=True)
        s3.upload_file(str(hostile), "disks", "hostile")
        for ask, code in (
            (lambda: ec2.import_image(DiskContainers=[{"Url": "s3://disks/hostile"}]), "InvalidParameter"),
            (lambda: ec2.register_image(Name="hostile", ImageLocation="disks/hostile"), "InvalidManifest"),
        ):
            with self.assertRaises(ClientError) as caught:
                ask()
            error = caught.exception.response["Error"]
            self.assertEqual(error["Code"], code, error)
            self.assertIn("backing file", error["Message"])


if __name__ == "__main__":
    unittest.main()
