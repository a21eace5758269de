#!/usr/bin/env python3
"""Responds to an incident with a person who decides, over gRPC, with messages that grpcio-tools makes when it starts.

    python3 -m venv .venv && .venv/bin/pip install grpcio-tools
    .venv/bin/python respond_grpc.py SYSTEM.txt ALERTS.log

COUNTERMOVE_COORDINATOR says where the coordinator is, COUNTERMOVE_TOKEN who calls.
"""

import os
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import grpc

# Where the .proto files lie: a program of yours brings its own copy.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proto"))
incident, _ = grpc.protos_and_services("countermove/v1/incident.proto")
api, services = grpc.protos_and_services("countermove/v1/incident_service.proto")

COORDINATOR = urlsplit(os.environ.get("COUNTERMOVE_COORDINATOR", "http://127.0.0.1:7700"))
TOKEN = os.environ.get("COUNTERMOVE_TOKEN")
METADATA = [("authorization", f"Bearer {TOKEN}")] if TOKEN else []


def channel():
    if COORDINATOR.scheme == "https":
        return grpc.secure_channel(COORDINATOR.netloc, grpc.ssl_channel_credentials())
    return grpc.insecure_channel(COORDINATOR.netloc)


def agreed(question):
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "y"


def decide(service, name, step):
    """Shows what was decided, asks, approves by the hash of what was shown, and reports what came of it."""
    print(f"\nStep {step.index + 1}: {step.reason}")
    for candidate in step.candidates:
        mark = "*" if candidate.index == step.chosen else " "
        cost = f"cost {candidate.cost.mean:.2f}" if candidate.cost.HasField("mean") else "no estimate"
        print(f" {mark} {candidate.action.text} ({cost})")
    if not agreed("Approve it?"):
        sys.exit(f"{name} goes on waiting for a decision.")
    # The id of a change makes it safe to send once more when the connection breaks.
    approval = api.ApproveActionRequest(
        name=name, step=step.index, plan_hash=step.plan_hash, approver="example", request_id=str(uuid.uuid4())
    )
    service.ApproveAction(approval, metadata=METADATA)
    # Here the action is carried out, and somebody looks at what it achieved.
    if not agreed("Approved. Did it achieve what was predicted?"):
        sys.exit(f"{name} goes on waiting for its outcome.")
    predicted = {fact.name: True for fact, _ in step.candidates[step.chosen].predicted_state.ListFields()}
    outcome = api.ReportOutcomeRequest(
        name=name, step=step.index, facts=incident.RecoveryFacts(**predicted), request_id=str(uuid.uuid4())
    )
    service.ReportOutcome(outcome, metadata=METADATA)
    print("Reported:", ", ".join(predicted) or "nothing new")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    system, alerts = (Path(path).read_text(encoding="utf-8") for path in sys.argv[1:])
    request = api.CreateIncidentRequest(
        evidence=incident.Evidence(system_description=system, alerts=alerts),
        # Small and repeatable, for an example; what is left out is the coordinator's default.
        options=incident.PlanOptions(mode=incident.PLAN_MODE_INTERACTIVE, candidates=2, rollouts=4, seed=7),
        request_id=str(uuid.uuid4()),
    )
    with channel() as line:
        service = services.IncidentServiceStub(line)
        created = service.CreateIncident(request, metadata=METADATA)
        name = created.incident.name
        print(f"{name}: {created.digest.records} records")
        for update in service.WatchIncident(api.WatchIncidentRequest(name=name), metadata=METADATA):
            event = update.event
            kind = event.WhichOneof("kind")
            if kind == "assessed":
                print(event.assessed.description)
            elif kind == "decided":
                decide(service, name, event.decided)
            elif kind == "ended":
                print("\nEnded:", incident.PlanEnd.Name(event.ended.end), event.ended.error)


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as refused:
        sys.exit(f"{refused.code().name}: {refused.details()}")
