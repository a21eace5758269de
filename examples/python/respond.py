#!/usr/bin/env python3
"""Responds to an incident with a person who decides, as JSON over HTTP. Needs Python 3.8 and nothing else.

    respond.py SYSTEM.txt ALERTS.log

COUNTERMOVE_COORDINATOR says where the coordinator is, COUNTERMOVE_TOKEN who calls.
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid

COORDINATOR = os.environ.get("COUNTERMOVE_COORDINATOR", "http://127.0.0.1:7700")
TOKEN = os.environ.get("COUNTERMOVE_TOKEN")


def call(method, message):
    """Calls a method of the incident service; the answer can be read line by line."""
    url = f"{COORDINATOR}/countermove.v1.IncidentService/{method}"
    request = urllib.request.Request(url, json.dumps(message).encode(), {"content-type": "application/json"})
    if TOKEN:
        request.add_header("authorization", f"Bearer {TOKEN}")
    try:
        return urllib.request.urlopen(request)
    except urllib.error.HTTPError as refused:
        problem = json.load(refused)
        sys.exit(f"{method}: {problem['code']}: {problem.get('message', '')}")


def change(method, **fields):
    """A call that changes something. Its id makes it safe to send once more when the connection breaks."""
    return json.load(call(method, {"requestId": str(uuid.uuid4()), **fields}))


def agreed(question):
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "y"


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def decide(name, step):
    """Shows what was decided, asks, approves by the hash of what was shown, and reports what came of it."""
    index, chosen = step.get("index", 0), step.get("chosen", 0)
    print(f"\nStep {index + 1}: {step['reason']}")
    for candidate in step["candidates"]:
        mark = "*" if candidate.get("index", 0) == chosen else " "
        cost = candidate.get("cost", {}).get("mean")
        cost = "no estimate" if cost is None else f"cost {cost:.2f}"
        print(f" {mark} {candidate['action']['text']} ({cost})")
    if not agreed("Approve it?"):
        sys.exit(f"{name} goes on waiting for a decision.")
    change("ApproveAction", name=name, step=index, planHash=step["planHash"], approver="example")
    # Here the action is carried out, and somebody looks at what it achieved.
    if not agreed("Approved. Did it achieve what was predicted?"):
        sys.exit(f"{name} goes on waiting for its outcome.")
    predicted = step["candidates"][chosen].get("predictedState", {})
    change("ReportOutcome", name=name, step=index, facts=predicted)
    print("Reported:", ", ".join(predicted) or "nothing new")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    evidence = {"systemDescription": text(sys.argv[1]), "alerts": text(sys.argv[2])}
    # Small and repeatable, for an example; what is left out is the coordinator's default.
    options = {"mode": "PLAN_MODE_INTERACTIVE", "candidates": 2, "rollouts": 4, "seed": "7"}
    created = change("CreateIncident", evidence=evidence, options=options)
    name = created["incident"]["name"]
    print(f"{name}: {created['digest'].get('records', 0)} records")
    for line in call("WatchIncident", {"name": name}):
        update = json.loads(line)
        if "error" in update:
            sys.exit(f"WatchIncident: {update['error'].get('message', '')}")
        event = update.get("event", {})
        if "assessed" in event:
            print(event["assessed"].get("description", ""))
        elif "decided" in event:
            decide(name, event["decided"])
        elif "ended" in event:
            print("\nEnded:", event["ended"]["end"], event["ended"].get("error", ""))


if __name__ == "__main__":
    main()
