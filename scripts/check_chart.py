"""Lints the Helm chart, renders it in the ways that its values know, and checks what comes out against Kubernetes' own schemas.

Usage: check_chart.py FOLDER CHART. FOLDER is one of pip_tools.sh with kubernetes-validate and a package that brings Helm for x86-64
Linux: a layer of AWS, as an archive within an archive. It is unpacked there once.
"""

import io
import os
import pathlib
import platform
import subprocess
import sys
import tarfile
import zipfile

import kubernetes_validate
import yaml

# Sets of values that between them switch everything on that the templates ask for.
VALUES = {
    "defaults": [],
    "several coordinators, etcd and KEDA, no network policies": [
        "coordinator.replicas=2",
        "coordinator.storeSecret=store",
        "coordinator.signingSecret=signing",
        "etcd={https://etcd-0:2379,https://etcd-1:2379}",
        "autoscaling.enabled=true",
        "networkPolicies.enabled=false",
    ],
    "a GPU and further flags": [
        "worker.extraArgs={--device=cuda:0}",
        "worker.resources.limits.nvidia\\.com/gpu=1",
        "coordinator.extraArgs={--keep-days=30}",
    ],
}
# Kinds of other projects, for which Kubernetes has no schema.
OTHERS = {"ScaledObject"}


def helm(folder):
    """Helm's program, unpacked if it is not yet."""
    program = folder / "bin" / "helm"
    if not program.exists():
        [layer] = folder.rglob("lambda-layer-kubectl-*.jsii.tgz")
        with tarfile.open(layer) as archive:
            zipped = archive.extractfile("package/lib/layer.zip").read()
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            unpacked = program.with_suffix(".new")
            unpacked.write_bytes(archive.read("helm/helm"))
        unpacked.chmod(0o755)
        os.replace(unpacked, program)
    return program


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command[1:]))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main():
    folder, chart = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("there is no Helm for this machine in the package: the chart is NOT checked")
        return
    program = helm(folder)
    run(program, "lint", "--strict", chart)
    version = kubernetes_validate.latest_version()
    for name, values in VALUES.items():
        settings = [part for value in values for part in ("--set", value)]
        rendered = run(program, "template", "countermove", chart, *settings)
        documents = [document for document in yaml.safe_load_all(rendered) if document]
        checked = [document for document in documents if document["kind"] not in OTHERS]
        kinds = {document["kind"] for document in checked}
        if not {"StatefulSet", "Service", "PodDisruptionBudget"} <= kinds:
            sys.exit(f"{name}: something is missing among {sorted(kinds)}")
        for document in checked:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{name}: {document['kind']} {document['metadata']['name']} at {error.json_path}: {error.message}")
        print(f"{name}: {len(checked)} documents fit the schemas of Kubernetes {version}")


main()
