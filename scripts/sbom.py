#!/usr/bin/env python3
"""Writes a CycloneDX 1.5 document for each program: every crate that is compiled into it, with version, licence and checksum.

usage: sbom.py FOLDER PACKAGE...

What is in it comes from `cargo metadata` and Cargo.lock alone, so the same tree gives the same bytes.
"""

import json
import os
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"


def metadata():
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--format-version", "1", "--locked"]
    output = subprocess.run([*command, "--filter-platform", TARGET], check=True, capture_output=True).stdout
    return json.loads(output)


def checksums():
    lock = tomllib.loads(Path("Cargo.lock").read_text())
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def linked(nodes, root):
    """Packages that are compiled into a program, and what each asks for: neither what only builds need nor what only tests do."""
    found, waiting = {}, [root]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        asked = [dep for dep in nodes[package]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        found[package] = sorted(dep["pkg"] for dep in asked)
        waiting.extend(found[package])
    return found


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind, hashes):
    entry = {
        "type": kind,
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["license"]:
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = hashes.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def document(packages, found, root, hashes):
    parts = [component(packages[p], "library", hashes) for p in sorted(found, key=lambda p: reference(packages[p])) if p != root]
    depends = [
        {"ref": reference(packages[p]), "dependsOn": sorted(reference(packages[d]) for d in found[p])}
        for p in sorted(found, key=lambda p: reference(packages[p]))
    ]
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[root], "application", hashes)},
        "components": parts,
        "dependencies": depends,
    }
    body["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True)).urn
    return body


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    read, hashes = metadata(), checksums()
    packages = {p["id"]: p for p in read["packages"]}
    nodes = {node["id"]: node for node in read["resolve"]["nodes"]}
    for name in sys.argv[2:]:
        root = next((p["id"] for p in read["packages"] if p["name"] == name and p["source"] is None), None)
        if root is None:
            sys.exit(f"{name} is no package of this workspace")
        found = linked(nodes, root)
        path = folder / f"{name}.cdx.json"
        path.write_text(json.dumps(document(packages, found, root, hashes), indent=2) + "\n")
        print(f"{path}: {len(found) - 1} components")


main()
