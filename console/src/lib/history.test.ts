import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { FindingVerdict, IncidentSchema, IncidentStatus, PlanMode, StateSource } from '../gen/countermove/v1/incident_pb';
import { IncidentEventSchema } from '../gen/countermove/v1/incident_service_pb';
import { decisions, differences, facts, kinds, open, readings } from './history';

const contained = { isAttackContained: true };
let sequence = 0n;
const event = (kind: object) => create(IncidentEventSchema, { sequence: ++sequence, time: { seconds: sequence, nanos: 0 }, kind: kind as never });

describe('facts', () => {
  it('say where they come from', () => {
    const incident = create(IncidentSchema, {
      options: { mode: PlanMode.INTERACTIVE },
      state: { isAttackContained: true, isKnowledgeSufficient: true },
      plan: {
        steps: [
          { index: 0, stateBefore: { isKnowledgeSufficient: true }, stateAfter: { ...contained, isKnowledgeSufficient: true }, stateAfterSource: StateSource.REPORTED },
          { index: 1, stateBefore: contained, chosen: 0, candidates: [{ index: 0, predictedState: { areForensicsPreserved: true } }] },
        ],
      },
    });
    const [first, second, third, fourth] = facts(incident);
    expect(first).toMatchObject({ word: 'contained', holds: true, source: 'reported', step: 1 });
    expect(second).toMatchObject({ word: 'understood', holds: true, source: 'reported', step: 0 });
    expect(third).toMatchObject({ word: 'preserved', holds: false, expected: true });
    expect(fourth).toMatchObject({ word: 'eradicated', holds: false, expected: false });
    expect(open(incident)?.index).toBe(1);
  });

  it('of an offline plan are predicted, and nothing waits', () => {
    const incident = create(IncidentSchema, {
      options: { mode: PlanMode.OFFLINE },
      state: contained,
      plan: { steps: [{ index: 0, stateBefore: {}, stateAfter: contained, stateAfterSource: StateSource.PREDICTED }] },
    });
    expect(facts(incident)[0]).toMatchObject({ holds: true, source: 'predicted', step: 1 });
    expect(open(incident)).toBeUndefined();
  });

  it('that fell back since are as the evidence shows', () => {
    const incident = create(IncidentSchema, {
      options: { mode: PlanMode.INTERACTIVE },
      state: {},
      plan: { steps: [{ index: 0, stateBefore: {}, stateAfter: contained, stateAfterSource: StateSource.REPORTED }] },
    });
    expect(facts(incident)[0]).toMatchObject({ holds: false, source: 'seen', step: 0 });
  });
});

describe('decisions', () => {
  const step = { index: 0, chosen: 0, planHash: 'aaaa', candidates: [{ index: 0, action: { text: 'Block' }, predictedState: contained }, { index: 1, action: { text: 'Isolate' }, planHash: 'bbbb' }] };

  it('are told with those that were rejected and withdrawn', () => {
    const all = decisions([
      event({ case: 'decided', value: step }),
      event({ case: 'rejected', value: { step: 0, reason: 'too broad', rejectedBy: 'ann', findings: [{ name: 'web01', verdict: FindingVerdict.CLEAN }] } }),
      event({ case: 'decided', value: step }),
      event({ case: 'fellBack', value: { withdrawnStep: 0, reason: 'it goes on' } }),
      event({ case: 'decided', value: step }),
      event({ case: 'approved', value: { step: 0, approver: 'bob', planHash: 'bbbb', chosen: 1 } }),
      event({ case: 'outcome', value: { step: 0, state: contained, findings: [{ name: 'db01', verdict: FindingVerdict.COMPROMISED }] } }),
    ]);
    expect(all.map((one) => [one.what, one.who, one.reason, one.action, one.isOtherChoice])).toEqual([
      ['rejected', 'ann', 'too broad', 'Block', false],
      ['withdrawn', '', 'it goes on', 'Block', false],
      ['approved', 'bob', '', 'Isolate', true],
    ]);
    expect(all[2]).toMatchObject({ hash: 'bbbb', outcome: { isAttackContained: true } });
    expect(all.map((one) => one.findings.map((finding) => finding.name))).toEqual([['web01'], [], ['db01']]);
  });

  it('compare the outcome with the prediction', () => {
    expect(differences(undefined, { isAttackContained: true })).toEqual([{ word: 'contained', predicted: false, reported: true }]);
    expect(differences(undefined, {})).toEqual([]);
  });
});

describe('beliefs', () => {
  it('are kept for each reading of the evidence', () => {
    const all = readings([
      event({ case: 'assessed', value: { tactics: [{ tactic: 10, weight: 1 }] } }),
      event({ case: 'notice', value: { text: 'x' } }),
      event({ case: 'revised', value: { step: 3, assessment: { tactics: [{ tactic: 5, weight: 1 }] } } }),
    ]);
    expect(all.map((one) => [one.title, one.tactics[0]?.tactic])).toEqual([
      ['first reading', 10],
      ['before step 4', 5],
    ]);
  });

  it('are set beside what came', () => {
    const rows = kinds({
      predicted: [{ classification: 'scan', priority: 3 }, { classification: 'trojan', priority: 1 }] as never,
      observed: [{ classification: 'trojan', priority: 1 }, { classification: 'trojan' }] as never,
    });
    expect(rows.map((row) => [row.classification, row.priority, row.predicted, row.observed])).toEqual([
      ['trojan', 1, true, true],
      ['scan', 3, true, false],
      ['trojan', undefined, false, true],
    ]);
  });

  it('waits only while the status says so', () => {
    const incident = create(IncidentSchema, { status: IncidentStatus.ENDED, options: { mode: PlanMode.INTERACTIVE }, plan: { steps: [{ index: 0, stateAfterSource: StateSource.REPORTED }] } });
    expect(open(incident)).toBeUndefined();
  });
});
