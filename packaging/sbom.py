#!/usr/bin/env python3
"""What is inside the program: a CycloneDX bill of materials, and the licences of everything that others wrote.

    packaging/sbom.py --sbom muster.cdx.json --licences third-party.txt

Reads the lock file and the sources that cargo has already fetched; needs no network. The same commit gives the same bytes.
"""

import argparse
import glob
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
import uuid

HOST = "x86_64-unknown-linux-gnu"
TEXTS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "UNLICENSE*", "license*")


def metadata():
    line = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", HOST]
    if "--offline" in os.environ.get("CARGO_FLAGS", "") or os.environ.get("CARGO_NET_OFFLINE") == "true":
        line.append("--offline")
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def inside(data):
    """The packages that go into the program or build it, with what each needs; those of the tests are left out."""
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    root, needs, waiting = data["resolve"]["root"], {}, [data["resolve"]["root"]]
    while waiting:
        name = waiting.pop()
        if name in needs:
            continue
        wanted = [d["pkg"] for d in nodes[name]["deps"] if any(kind["kind"] != "dev" for kind in d["dep_kinds"])]
        needs[name] = sorted(wanted)
        waiting += wanted
    return root, needs


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def spdx(package):
    return (package["license"] or "NOASSERTION").replace("/", " OR ")


def sbom(data, lock):
    packages = {package["id"]: package for package in data["packages"]}
    sums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    root, needs = inside(data)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "0"))))

    def component(name):
        package = packages[name]
        out = {
            "type": "application" if name == root else "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "licenses": [{"expression": spdx(package)}],
            "purl": purl(package),
        }
        checksum = sums.get((package["name"], package["version"]))
        if checksum:
            out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return out

    names = sorted(needs, key=lambda name: purl(packages[name]))
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": when, "component": component(root)},
        "components": [component(name) for name in names if name != root],
        "dependencies": [
            {"ref": purl(packages[name]), "dependsOn": sorted({purl(packages[need]) for need in needs[name]})}
            for name in names
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest())
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **body}, indent=1, sort_keys=True) + "\n"


def licences(data):
    packages = {package["id"]: package for package in data["packages"]}
    root, needs = inside(data)
    texts, bare = {}, []
    for name in sorted(needs, key=lambda name: purl(packages[name])):
        if name == root:
            continue
        package = packages[name]
        folder = os.path.dirname(package["manifest_path"])
        found = sorted({path for pattern in TEXTS for path in glob.glob(os.path.join(folder, pattern)) if os.path.isfile(path)})
        title = f"{package['name']} {package['version']} ({spdx(package)})"
        for path in found:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = "\n".join(line.rstrip() for line in file.read().strip().splitlines())
            texts.setdefault(text, []).append(title)
        if not found:
            bare.append(title)
    out = ["What others wrote and Muster is built of, with the terms under which it is given.", ""]
    if bare:
        out += ["These name their licence and bring no text of it:", *(f"  {title}" for title in bare), ""]
    for text, titles in sorted(texts.items(), key=lambda item: item[1]):
        out += ["=" * 100, *dict.fromkeys(titles), "-" * 100, text, ""]
    return "\n".join(out)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sbom")
    arguments.add_argument("--licences")
    given = arguments.parse_args()
    if not (given.sbom or given.licences):
        sys.exit(__doc__)
    data = metadata()
    if given.sbom:
        with open("Cargo.lock", "rb") as file:
            lock = tomllib.load(file)
        with open(given.sbom, "w", encoding="utf-8") as file:
            file.write(sbom(data, lock))
    if given.licences:
        with open(given.licences, "w", encoding="utf-8") as file:
            file.write(licences(data))


if __name__ == "__main__":
    main()
