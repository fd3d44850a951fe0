#!/usr/bin/env python3
"""An OCI image as one tar, from one static program, without a container engine.

    packaging/oci.py PROGRAM VERSION OUT.tar

The image holds the program, two lines of users, and an empty data folder; it runs as user 65532 and keeps everything in
/data. The same program gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import time

USER = 65532
WHEN = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


def entry(tar, name, data=None, mode=0o644, owner=0):
    info = tarfile.TarInfo(name)
    info.mtime, info.mode, info.uid, info.gid = WHEN, mode, owner, owner
    if data is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def layer(program):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in ("usr", "usr/bin", "etc"):
            entry(tar, folder, mode=0o755)
        entry(tar, "data", mode=0o700, owner=USER)
        entry(tar, "tmp", mode=0o1777)
        with open(program, "rb") as file:
            entry(tar, "usr/bin/muster", file.read(), mode=0o755)
        entry(tar, "etc/passwd", f"root:x:0:0::/:/\nmuster:x:{USER}:{USER}::/data:/\n".encode())
        entry(tar, "etc/group", f"root:x:0:\nmuster:x:{USER}:\n".encode())
        entry(tar, "etc/nsswitch.conf", b"hosts: files dns\n")
    return out.getvalue()


def packed(data):
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as file:
        file.write(data)
    return out.getvalue()


def image(program, version):
    """The files of the image's layout, by name."""
    plain = layer(program)
    pressed = packed(plain)
    files = {}

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(WHEN))
    config = {
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/usr/bin/muster"],
            "Cmd": ["serve", "--data", "/data"],
            "ExposedPorts": {"8443/tcp": {}, "8883/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/data",
            "StopSignal": "SIGTERM",
            "Labels": {"org.opencontainers.image.title": "muster", "org.opencontainers.image.version": version},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
        "history": [{"created": created, "created_by": "packaging/oci.py"}],
    }
    text = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":")).encode()  # noqa: E731
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(text(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(pressed, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    named = {"org.opencontainers.image.ref.name": version}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**blob(text(manifest), manifest["mediaType"]), "annotations": named}],
    }
    files["index.json"] = text(index)
    files["oci-layout"] = text({"imageLayoutVersion": "1.0.0"})
    return files


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    program, version, out = sys.argv[1:]
    files = image(program, version)
    with tarfile.open(out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in ("blobs", "blobs/sha256"):
            entry(tar, folder, mode=0o755)
        for name in sorted(files):
            entry(tar, name, files[name])


if __name__ == "__main__":
    main()
