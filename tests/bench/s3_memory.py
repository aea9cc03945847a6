"""What Walrus holds in memory while 64 clients upload 256 MiB each at the same time."""

import pathlib
import shutil
import sys

from bench import SCRATCH, Result, controllers, resident_mib
from s3_bench import BUCKET, MIB, idle_note, put, random_file, s3_cloud

UPLOADS = 64
SIZE = 256 * MIB
RESIDENT_MB_MAX = 150


def peak_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


def main():
    size = 4 * MIB if "--smoke" in sys.argv else SIZE
    room = shutil.disk_usage(SCRATCH).free
    if room < UPLOADS * size * 1.1 + (2 << 30):
        raise SystemExit(f"{room >> 30} GiB are free, too few for {UPLOADS} uploads of {size // MIB} MiB")
    result = Result("s3_memory")
    idle_note(result)
    with s3_cloud() as (cloud, signer):
        walrus = controllers(cloud.state_dir)["walrus"]
        body = random_file(cloud.directory, size)
        before = resident_mib(walrus)
        pathlib.Path(f"/proc/{walrus}/clear_refs").write_text("5")  # the peak counts from here
        heads = [signer.head("PUT", f"/{BUCKET}/{number}", length=size) for number in range(UPLOADS)]
        took, _ = put(cloud.directory, signer.host, heads, body, UPLOADS)
        peak = peak_mib(walrus)
    peak, before = peak * MIB / 1e6, before * MIB / 1e6
    result.figure(f"resident memory at most, {UPLOADS} uploads of {size // MIB} MiB at once, MB", f"{peak:.0f}",
                  f"≤ {RESIDENT_MB_MAX}", peak <= RESIDENT_MB_MAX)
    result.figure("… before, MB", f"{before:.0f}")
    result.figure("… for each upload, MB", f"{(peak - before) / UPLOADS:.2f}")
    result.figure("… taken in, MB/s", f"{UPLOADS * size / took / 1e6:.0f}")
    result.note("What the kernel keeps of files is not in it. The highest resident size that the kernel saw, not a sample.")
    result.print()


if __name__ == "__main__":
    main()
