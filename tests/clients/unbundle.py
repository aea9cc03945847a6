#!/usr/bin/env python3
"""Opens an image bundle the way ec2 and euca tools do, and checks all that can be checked of it.

    unbundle.py MANIFEST IMAGE --key PEM [--signer CERTIFICATE]

Parts lie beside the manifest. `--key` is the private key of one whom the bundle was encrypted for: the cloud, or with
`--user` the user. Written from the format's facts, and apart from Walrus' own code: each is a check of the other.
"""

import argparse
import gzip
import hashlib
import io
import pathlib
import subprocess
import tarfile
import tempfile
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


def unbundle(manifest, key, signer=None, whose="ec2"):
    """The image's bytes and the manifest's tree."""
    manifest = pathlib.Path(manifest)
    text = manifest.read_bytes()
    tree = ElementTree.fromstring(text)
    expect(tree.findtext("version"), "2007-10-10", "version")
    if signer is not None:
        check_signature(text, tree.findtext("signature"), signer)
    image = tree.find("image")
    parts = image.find("parts")
    expect(len(parts), int(parts.get("count")), "count of parts")
    whole = b""
    for index, part in enumerate(parts):
        expect(int(part.get("index")), index, "index of a part")
        data = (manifest.parent / part.findtext("filename")).read_bytes()
        expect(hashlib.sha1(data).hexdigest(), part.findtext("digest"), f"digest of part {index}")
        whole += data
    expect(len(whole), int(image.findtext("bundled_size")), "bundled_size")
    secret = unwrapped(image.findtext(f"{whose}_encrypted_key"), key)
    iv = unwrapped(image.findtext(f"{whose}_encrypted_iv"), key)
    archive = gzip.decompress(openssl("enc", "-d", "-aes-128-cbc", "-K", secret, "-iv", iv, data=whole))
    expect(hashlib.sha1(archive).hexdigest(), image.findtext("digest"), "digest of the image")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        [member] = opened.getmembers()
        expect(member.size, int(image.findtext("size")), "size")
        return opened.extractfile(member).read(), tree


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=pathlib.Path)
    parser.add_argument("image", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path, required=True)
    parser.add_argument("--user", action="store_true")
    parser.add_argument("--signer", type=pathlib.Path)
    arguments = parser.parse_args()
    whose = "user" if arguments.user else "ec2"
    image, _ = unbundle(arguments.manifest, arguments.key, arguments.signer, whose)
    arguments.image.write_bytes(image)


if __name__ == "__main__":
    main()
