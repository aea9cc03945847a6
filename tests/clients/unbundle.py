#!/usr/bin/env python3
"""Opens an image bundle the way ec2 and euca tools do, and checks all that can be checked of it.

    unbundle.py MANIFEST IMAGE --key PEM [--signer CERTIFICATE]

Parts lie beside the manifest. Streams, so an image may be of any size. `--key` is the private key of one whom the bundle was encrypted for: the cloud, or with
`--user` the user. Written from the format's facts, and apart from Walrus' own code: each is a check of the other.
"""

import argparse
import gzip
import hashlib
import pathlib
import subprocess
import tarfile
import tempfile
import threading
import xml.etree.ElementTree as ElementTree


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *map(str, arguments)], input=data, stdout=subprocess.PIPE, check=True).stdout


def expect(found, wanted, what):
    if found != wanted:
        raise SystemExit(f"{what}: {found}, not {wanted}")


def between(text, name):
    """An element as it stands in the text: what is signed."""
    return text[text.index(f"<{name}>".encode()):text.index(f"</{name}>".encode()) + len(name) + 3]


def check_signature(text, signature, certificate):
    signed = between(text, "machine_configuration") + between(text, "image")
    with tempfile.TemporaryDirectory() as directory:
        key, proof = pathlib.Path(directory) / "key", pathlib.Path(directory) / "proof"
        key.write_bytes(openssl("x509", "-in", certificate, "-noout", "-pubkey"))
        proof.write_bytes(bytes.fromhex(signature))
        openssl("dgst", "-sha1", "-verify", key, "-signature", proof, data=signed)


def unwrapped(text, key):
    plain = openssl("pkeyutl", "-decrypt", "-inkey", key, "-pkeyopt", "rsa_padding_mode:pkcs1", data=bytes.fromhex(text))
    expect(len(plain), 32, "length of a key or IV in hex")
    return plain.decode()


class Summed:
    """A stream that is read through, and the SHA-1 of what was."""

    def __init__(self, source):
        self.source = source
        self.sum = hashlib.sha1()

    def read(self, size=-1):
        data = self.source.read(size)
        self.sum.update(data)
        return data


def feed(parts, to):
    """The ciphertext; every part is checked on its way."""
    with to:
        for part, digest in parts:
            data = part.read_bytes()
            expect(hashlib.sha1(data).hexdigest(), digest, f"digest of {part.name}")
            to.write(data)


def unbundle(manifest, image, key, signer=None, whose="ec2"):
    """Writes the image, which keeps its holes, and returns the manifest's tree."""
    manifest = pathlib.Path(manifest)
    text = manifest.read_bytes()
    tree = ElementTree.fromstring(text)
    expect(tree.findtext("version"), "2007-10-10", "version")
    if signer is not None:
        check_signature(text, tree.findtext("signature"), signer)
    said = tree.find("image")
    listed = said.find("parts")
    expect([int(part.get("index")) for part in listed], list(range(int(listed.get("count")))), "indices of parts")
    parts = [(manifest.parent / part.findtext("filename"), part.findtext("digest")) for part in listed]
    expect(sum(part.stat().st_size for part, _ in parts), int(said.findtext("bundled_size")), "bundled_size")
    secret = unwrapped(said.findtext(f"{whose}_encrypted_key"), key)
    iv = unwrapped(said.findtext(f"{whose}_encrypted_iv"), key)
    command = ["openssl", "enc", "-d", "-aes-128-cbc", "-K", secret, "-iv", iv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cipher:
        feeding = threading.Thread(target=feed, args=(parts, cipher.stdin))
        feeding.start()
        summed = Summed(gzip.GzipFile(fileobj=cipher.stdout))
        with tarfile.open(fileobj=summed, mode="r|") as archive:
            member = archive.next()
            expect(member.size, int(said.findtext("size")), "size")
            member.name = pathlib.Path(image).name
            archive.extract(member, pathlib.Path(image).parent)
            expect(archive.next(), None, "another member")
        while summed.read(1 << 20):
            pass
        feeding.join()
    expect(cipher.returncode, 0, "what openssl says")
    expect(summed.sum.hexdigest(), said.findtext("digest"), "digest of the image")
    return tree


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=pathlib.Path)
    parser.add_argument("image", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path, required=True)
    parser.add_argument("--user", action="store_true")
    parser.add_argument("--signer", type=pathlib.Path)
    arguments = parser.parse_args()
    whose = "user" if arguments.user else "ec2"
    unbundle(arguments.manifest, arguments.image, arguments.key, arguments.signer, whose)


if __name__ == "__main__":
    main()
