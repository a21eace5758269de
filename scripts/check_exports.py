"""Has the programs of others read what the coordinator exports for them: STIX with the validator of OASIS, MISP with PyMISP.

Usage: check_exports.py FOLDER. FOLDER holds stix.json and misp.json, which a test of the coordinator keeps up to date.
"""

import json
import pathlib
import sys

import jsonschema
import pymisp
import stix2
import stix2validator

# What is recommended and is broken on purpose: identifiers that are drawn by chance would make every export another one, and pages that
# change have no hash.
ON_PURPOSE = "uuid-check,extref-hashes"


def stix(path):
    # The validator is told which recommendations to check, and each that is broken counts.
    options = stix2validator.ValidationOptions(version="2.1", disabled=ON_PURPOSE, strict=True)
    result = stix2validator.validate_file(str(path), options).object_result
    for fault in [*result.errors, *result.warnings]:
        yield fault.message if hasattr(fault, "message") else str(fault)
    bundle = stix2.parse(path.read_text(encoding="utf-8"), allow_custom=False)
    # The library derives identifiers of observables by itself.
    for one in bundle.objects:
        if one.id.split("--")[0] in ("ipv4-addr", "ipv6-addr", "domain-name", "user-account"):
            own = {name: one[name] for name in one if name not in ("id", "object_marking_refs")}
            derived = type(one)(**own).id
            if derived != one.id:
                yield f"{one.id} should be {derived}"


def misp(path):
    event = json.loads(path.read_text(encoding="utf-8"))
    schema = json.loads((pathlib.Path(pymisp.__file__).parent / "data/schema.json").read_text(encoding="utf-8"))
    for fault in jsonschema.Draft4Validator(schema).iter_errors(event):
        yield f"{fault.json_path}: {fault.message}"
    # It refuses types and categories that MISP does not know, or not together.
    read = pymisp.MISPEvent()
    read.load_file(path)
    if len(read.attributes) != len(event["Event"]["Attribute"]):
        yield f"of {len(event['Event']['Attribute'])} attributes {len(read.attributes)} were read"


def main():
    folder = pathlib.Path(sys.argv[1])
    faults = [f"{name}: {fault}" for check, name in ((stix, "stix.json"), (misp, "misp.json")) for fault in check(folder / name)]
    if faults:
        sys.exit("\n".join(faults))


main()
