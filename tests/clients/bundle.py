#!/usr/bin/env python3
"""Makes an image bundle the way ec2 and euca tools do: parts and a manifest, ready for upload.

    bundle.py IMAGE DIRECTORY --user ACCOUNT --cloud-cert PEM [--user-cert PEM --user-key PEM]
              [--kind machine|kernel|ramdisk] [--kernel ID] [--ramdisk ID] [--map VIRTUAL=DEVICE …]

Prints the manifest's path. Written from the format's facts, and apart from Walrus' own code: each is a check of
the other. Streams, so an image may be of any size. Encryption and signatures are openssl's.
"""

import argparse
import gzip
import hashlib
import os
import pathlib
import secrets
import subprocess
import tarfile
import threading
from xml.sax.saxutils import escape

PART_BYTES = 10 * 1024 * 1024
READ_BYTES = 1 << 20


class Summed:
    """A file to write to that remembers the SHA-1 of what went through."""

    def __init__(self, to):
        self.to = to
        self.sum = hashlib.sha1()

    def write(self, data):
        self.sum.update(data)
        return self.to.write(data)


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout


def wrapped(value, certificate):
    """A key or IV for the holder of a certificate; empty without one."""
    if certificate is None:
        return ""
    arguments = ["pkeyutl", "-encrypt", "-certin", "-inkey", str(certificate), "-pkeyopt", "rsa_padding_mode:pkcs1"]
    return openssl(*arguments, data=value.encode()).hex()


def write_tar(image, prefix, sparse, to):
    if sparse:
        name = f"--transform=s/.*/{prefix}/"
        command = ["tar", "-cS", "--format=gnu", name, "-C", str(image.parent), image.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
            while data := tar.stdout.read(READ_BYTES):
                to.write(data)
        if tar.returncode:
            raise RuntimeError("tar failed")
        return
    with tarfile.open(fileobj=to, mode="w|") as archive, image.open("rb") as file:
        member = tarfile.TarInfo(prefix)
        member.size = image.stat().st_size
        archive.addfile(member, file)


def write_parts(stream, directory, prefix, part_bytes, parts):
    """A length that is a multiple of the part size gives an empty last part."""
    while True:
        data = stream.read(part_bytes)
        name = f"{prefix}.part.{len(parts):02}"
        (directory / name).write_bytes(data)
        parts.append((name, hashlib.sha1(data).hexdigest(), len(data)))
        if len(data) < part_bytes:
            return


def encrypt(image, directory, prefix, part_bytes, sparse, key, iv):
    """Writes the parts; their names, digests and lengths, and the digest of the tar stream."""
    parts = []
    command = ["openssl", "enc", "-e", "-aes-128-cbc", "-K", key, "-iv", iv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cipher:
        writer = threading.Thread(target=write_parts, args=(cipher.stdout, directory, prefix, part_bytes, parts))
        writer.start()
        with gzip.GzipFile(fileobj=cipher.stdin, mode="wb", compresslevel=1, filename="") as packed:
            summed = Summed(packed)
            write_tar(image, prefix, sparse, summed)
        cipher.stdin.close()
        writer.join()
    if cipher.returncode:
        raise RuntimeError("openssl enc failed")
    return parts, summed.sum.hexdigest()


def machine_configuration(architecture, maps, kernel, ramdisk):
    mappings = "".join(
        f"<mapping><virtual>{escape(virtual)}</virtual><device>{escape(device)}</device></mapping>"
        for virtual, device in maps
    )
    text = f"<machine_configuration><architecture>{escape(architecture)}</architecture>"
    text += f"<block_device_mapping>{mappings}</block_device_mapping>" if mappings else ""
    text += f"<kernel_id>{escape(kernel)}</kernel_id>" if kernel else ""
    text += f"<ramdisk_id>{escape(ramdisk)}</ramdisk_id>" if ramdisk else ""
    return text + "</machine_configuration>"


def image_element(name, user, kind, digest, size, keys, parts):
    (cloud_key, cloud_iv), (user_key, user_iv) = keys
    listed = "".join(
        f'<part index="{index}"><filename>{escape(filename)}</filename>'
        f'<digest algorithm="SHA1">{part_digest}</digest></part>'
        for index, (filename, part_digest, _) in enumerate(parts)
    )
    return (
        f"<image><name>{escape(name)}</name><user>{escape(user)}</user><type>{kind}</type>"
        f'<digest algorithm="SHA1">{digest}</digest><size>{size}</size>'
        f"<bundled_size>{sum(part[2] for part in parts)}</bundled_size>"
        f'<ec2_encrypted_key algorithm="AES-128-CBC">{cloud_key}</ec2_encrypted_key>'
        f'<user_encrypted_key algorithm="AES-128-CBC">{user_key}</user_encrypted_key>'
        f"<ec2_encrypted_iv>{cloud_iv}</ec2_encrypted_iv><user_encrypted_iv>{user_iv}</user_encrypted_iv>"
        f'<parts count="{len(parts)}">{listed}</parts></image>'
    )


def bundle(image, directory, user, cloud_cert, user_cert=None, user_key=None, kind="machine", prefix=None,
           kernel=None, ramdisk=None, architecture="x86_64", maps=(), part_bytes=PART_BYTES, sparse=False):
    """The path of the manifest; the parts lie beside it."""
    image, directory = pathlib.Path(image), pathlib.Path(directory)
    prefix = prefix or image.name
    kernel = "true" if kind == "kernel" else kernel
    ramdisk = "true" if kind == "ramdisk" else ramdisk
    key, iv = secrets.token_hex(16), secrets.token_hex(16)
    parts, digest = encrypt(image, directory, prefix, part_bytes, sparse, key, iv)
    keys = [(wrapped(key, certificate), wrapped(iv, certificate)) for certificate in (cloud_cert, user_cert)]
    signed = machine_configuration(architecture, maps, kernel, ramdisk)
    signed += image_element(prefix, user, kind, digest, image.stat().st_size, keys, parts)
    signature = "UNSIGNED"
    if user_key is not None:
        signature = openssl("dgst", "-sha1", "-sign", str(user_key), data=signed.encode()).hex()
    manifest = directory / f"{prefix}.manifest.xml"
    manifest.write_text(
        "<?xml version='1.0' encoding='ASCII'?>\n<manifest><version>2007-10-10</version>"
        "<bundler><name>karri-tests</name><version>1</version><release>0</release></bundler>"
        f"{signed}<signature>{signature}</signature></manifest>"
    )
    return manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--user", required=True)
    parser.add_argument("--cloud-cert", type=pathlib.Path, required=True)
    parser.add_argument("--user-cert", type=pathlib.Path)
    parser.add_argument("--user-key", type=pathlib.Path)
    parser.add_argument("--kind", choices=["machine", "kernel", "ramdisk"], default="machine")
    parser.add_argument("--prefix")
    parser.add_argument("--kernel")
    parser.add_argument("--ramdisk")
    parser.add_argument("--architecture", default="x86_64")
    parser.add_argument("--map", action="append", default=[], metavar="VIRTUAL=DEVICE")
    parser.add_argument("--part-bytes", type=int, default=PART_BYTES)
    parser.add_argument("--sparse", action="store_true")
    arguments = vars(parser.parse_args())
    arguments["maps"] = [tuple(pair.split("=", 1)) for pair in arguments.pop("map")]
    os.makedirs(arguments["directory"], exist_ok=True)
    print(bundle(**arguments))


if __name__ == "__main__":
    main()
