"""Two `karri up` on one state directory: one makes the cloud, the other says who has it and leaves it alone."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

from cloud import KARRI, STOP_SECONDS, Cloud, claim_ports, wait_until

READY_SECONDS = 60


class TwoUps(unittest.TestCase):
    def test_one_that_comes_later_is_told_who_is_there_and_changes_nothing(self):
        with Cloud(nodes=1) as cloud:
            facts = {file: file.read_bytes() for file in cloud.state_dir.glob("*") if file.is_file()}
            children = {file.parent.name: file.read_bytes() for file in cloud.state_dir.glob("*/endpoint.json")}
            # Other ports and another size, which the same directory would otherwise take on.
            done = subprocess.run([KARRI, "up", "--sim", "5", "--port-base", "0", "--state-dir", cloud.state_dir],
                                  capture_output=True, text=True, timeout=READY_SECONDS)
            self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
            self.assertEqual(done.stderr.strip(), f"karri: {cloud.state_dir} is in use: karri runs there with pid "
                                                  f"{cloud.process.pid} (karri down stops it)")
            self.assertIsNone(cloud.process.poll())
            self.assertEqual({file: file.read_bytes() for file in facts}, facts)
            self.assertEqual({name: (cloud.state_dir / name / "endpoint.json").read_bytes() for name in children}, children)
            self.assertTrue(cloud.boto3().describe_regions()["Regions"])

    def test_of_two_that_start_at_once_on_nothing_one_makes_the_cloud(self):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="karri-two-ups-"))
        self.addCleanup(shutil.rmtree, directory)
        base, claim = claim_ports()
        self.addCleanup(claim.close)
        ups, logs = [], []
        for number in (1, 2):
            log = directory / f"up-{number}.log"
            with log.open("wb") as out:
                ups.append(subprocess.Popen([KARRI, "up", "--sim", "1", "--state-dir", directory / "state", "--port-base", str(base)],
                                            stdout=out, stderr=subprocess.STDOUT, start_new_session=True))
            logs.append(log)
            self.addCleanup(self.end, ups[-1])
        wait_until("one gives up", lambda: any(up.poll() is not None for up in ups), READY_SECONDS)
        loser = next(at for at, up in enumerate(ups) if up.poll() is not None)
        winner = 1 - loser
        self.assertEqual(ups[loser].returncode, 1, logs[loser].read_text())
        self.assertIn(f"karri runs there with pid {ups[winner].pid}", logs[loser].read_text())
        wait_until("the other is ready", lambda: "Karri is ready" in logs[winner].read_text(), READY_SECONDS)
        self.assertIsNone(ups[winner].poll())
        status = subprocess.run([KARRI, "status", "--state-dir", directory / "state"], capture_output=True, text=True)
        self.assertEqual(status.returncode, 0, status.stdout + status.stderr)

    @staticmethod
    def end(process):
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
        process.wait(STOP_SECONDS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
