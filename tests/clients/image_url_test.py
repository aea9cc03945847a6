"""`karri image import URL`: what a web server may answer, and what becomes of it."""

import hashlib
import http.server
import json
import os
import pty
import random
import socket
import subprocess
import threading
import unittest

from cloud import KARRI, Cloud

# Larger than any buffer on the way, and nothing that is recognised as another format.
IMAGE = b"karri" + random.Random(7).randbytes((3 << 20) + 507)
SHA256 = hashlib.sha256(IMAGE).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        getattr(self, self.path.strip("/").partition("/")[0])()

    def whole(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(IMAGE)))
        self.end_headers()
        self.wfile.write(IMAGE)

    def moved(self):
        self.send_response(302)
        self.send_header("Location", "/whole/moved.img")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def chunked(self, end=b"0\r\n\r\n"):
        """Says no length."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(IMAGE), 1 << 20):
            part = IMAGE[start:start + (1 << 20)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(end)

    def chunked_cut(self):
        self.chunked(end=b"")
        self.close_connection = True

    def cut(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(IMAGE)))
        self.end_headers()
        self.wfile.write(IMAGE[:-1])
        self.close_connection = True

    def absent(self):
        self.send_error(404)

    def ill(self):
        self.send_error(503)

    def log_message(self, *_):
        pass


def setUpModule():
    global cloud, ec2, server
    cloud = Cloud(nodes=1).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2 = cloud.boto3()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    unittest.addModuleCleanup(server.shutdown)


def url(path):
    return f"http://127.0.0.1:{server.server_port}/{path}"


def command(path, *more):
    return [KARRI, "image", "import", url(path), "--state-dir", cloud.state_dir, *more]


class ImageFromUrl(unittest.TestCase):
    def imported(self, path, name):
        done = subprocess.run(command(path, "--name", name, "--output", "json"), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual((told["digest"], told["source_format"], told["name"]), (f"sha256:{SHA256}", "raw", name))
        [image] = ec2.describe_images(ImageIds=[told["image_id"]])["Images"]
        self.assertEqual((image["Name"], image["State"], image["ImageLocation"]), (name, "available", told["digest"]))
        return done.stderr

    def test_one_that_says_its_length_is_stored_whole(self):
        said = self.imported("whole/one.img", "whole")
        self.assertRegex(said, rf"127\.0\.0\.1:{server.server_port}/whole/one\.img: 3 of 3 MiB sent \(100 %\)")

    def test_one_that_says_no_length_is_stored_whole(self):
        said = self.imported("chunked/one.img", "chunked")
        self.assertRegex(said, r"/chunked/one\.img: 3 MiB sent\n")

    def test_one_that_has_moved_is_followed(self):
        self.imported("moved", "moved")

    def test_the_name_is_that_of_the_file(self):
        done = subprocess.run(command("whole/debian-12.4.img", "--output", "json"), capture_output=True, text=True)
        self.assertEqual((done.returncode, json.loads(done.stdout)["name"]), (0, "debian-12.4"), done.stderr)

    def test_what_does_not_come_whole_is_no_image_and_says_why(self):
        before = self.names()
        unread = "it cannot be read to its end: "
        for path, why in (("absent", "the server answers 404 Not Found"), ("ill", "the server answers 503 Service Unavailable"),
                          ("cut", unread + "end of file before message length reached"),
                          ("chunked_cut", unread + "unexpected EOF during chunk size line")):
            with self.subTest(path):
                self.refused(url(path), f"127.0.0.1:{server.server_port}/{path}: {why}")
        self.assertEqual(self.names(), before)

    def test_a_server_that_is_not_there_and_a_url_that_is_none(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen
            there = f"127.0.0.1:{nobody.getsockname()[1]}/x.img"
            self.refused(f"http://{there}", f"{there}: Connection refused (os error 111)")
        self.refused("ftp://127.0.0.1/x.img", "ftp://127.0.0.1/x.img: a file, or an http or https URL is expected", status=2)

    def refused(self, source, why, status=1):
        done = subprocess.run([KARRI, "image", "import", source, "--state-dir", cloud.state_dir, "--name", "never"],
                              capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if line.startswith("karri: ")]
        self.assertEqual((done.returncode, done.stdout, said), (status, "", [f"karri: {why}"]), done.stderr)

    def names(self):
        return sorted(image["Name"] for image in ec2.describe_images()["Images"])

    def test_a_terminal_shows_a_bar(self):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm"}
        with subprocess.Popen(command("whole/one.img", "--name", "on-a-terminal"), stdout=subprocess.DEVNULL, stderr=theirs,
                              env=environment) as importing:
            os.close(theirs)
            seen = b""
            while True:
                try:
                    seen += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
        os.close(ours)
        self.assertEqual(importing.returncode, 0, seen)
        self.assertRegex(seen.decode(), r"\[[^\]]*\] 3\.00 MiB/3\.00 MiB")


if __name__ == "__main__":
    unittest.main(verbosity=2)
