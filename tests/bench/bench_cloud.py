"""A cloud with real guests, on a bridge of its own, from release binaries."""

import json

import bench  # noqa: F401  finds the rooms below
from cloud import wait_until
from real_cloud import RealCloud

# Beside the numbers that the tests use.
NUMBER = 14


class BenchCloud(RealCloud):
    def __init__(self):
        super().__init__(NUMBER)


def accelerator(cloud):
    zones = json.loads(cloud.karri("status", "--output", "json"))["zones"]
    return zones[0]["resources"]["nodes"][0]["facts"]["accelerator"]


__all__ = ["BenchCloud", "accelerator", "wait_until"]
