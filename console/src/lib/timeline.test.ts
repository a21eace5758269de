import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { FindingVerdict, RolloutEnd } from '../gen/countermove/v1/incident_pb';
import { IncidentEventSchema } from '../gen/countermove/v1/incident_service_pb';
import { holding, timeline } from './timeline';

let sequence = 0n;
const event = (kind: object) => create(IncidentEventSchema, { sequence: ++sequence, kind: kind as never });
const rollout = (step: number, candidate: number, end: RolloutEnd, worker = 'workers/a') => event({ case: 'rollout', value: { step, candidate, end, worker } });

describe('the timeline', () => {
  it('folds the rollouts of a step into one entry', () => {
    const entries = timeline([
      event({ case: 'created', value: { creator: 'ann' } }),
      rollout(0, 0, RolloutEnd.TERMINAL),
      rollout(0, 1, RolloutEnd.TRUNCATED, 'workers/b'),
      rollout(0, 0, RolloutEnd.MALFORMED),
      event({ case: 'decided', value: { index: 0, candidates: [{ index: 0, action: { text: 'Block' } }] } }),
      rollout(1, 0, RolloutEnd.TERMINAL),
    ]);
    expect(entries.map((entry) => entry.title)).toEqual(['Incident created', '3 rollouts of step 1', 'Step 1 decided', '1 rollout of step 2']);
    expect(entries[1]?.folded).toEqual([
      'Candidate 1: 2 rollouts, 1 recovered, 1 without a result; on workers/a',
      'Candidate 2: 1 rollout, 0 recovered, 1 cut off; on workers/b',
    ]);
    expect(entries[2]?.detail).toBe('Block');
  });

  it('keeps rollouts of a step that is planned again apart', () => {
    const entries = timeline([rollout(0, 0, RolloutEnd.TERMINAL), event({ case: 'decided', value: {} }), event({ case: 'rejected', value: { reason: 'no' } }), rollout(0, 0, RolloutEnd.TERMINAL)]);
    expect(entries.filter((entry) => entry.title === '1 rollout of step 1')).toHaveLength(2);
  });

  it('says nothing of what it does not know', () => {
    expect(timeline([create(IncidentEventSchema, { sequence: 1n })])).toEqual([]);
  });

  it('tells who did what', () => {
    const [first, approved, automatic] = timeline([
      event({ case: 'approval', value: { step: 1, approver: 'ann' } }),
      event({ case: 'approved', value: { step: 1, approver: 'bob' } }),
      event({ case: 'approved', value: { step: 2, isAutomatic: true } }),
    ]);
    expect(first).toMatchObject({ title: 'Step 2 approved by one of several', detail: 'By ann. Others have to approve as well.' });
    expect(approved).toMatchObject({ title: 'Step 2 approved', detail: 'By bob.', tone: 'person' });
    expect(automatic?.title).toContain('autonomy');
  });

  it('tells what was found, with a rejection and with an outcome', () => {
    const findings = [{ name: '10.0.2.14', verdict: FindingVerdict.CLEAN }, { name: 'web01', verdict: FindingVerdict.COMPROMISED }];
    const [rejected, outcome, plain] = timeline([
      event({ case: 'rejected', value: { step: 0, reason: 'it serves the shop', rejectedBy: 'ann', findings } }),
      event({ case: 'outcome', value: { step: 0, state: { isAttackContained: true }, findings } }),
      event({ case: 'outcome', value: { step: 0, carriedOut: false } }),
    ]);
    expect(rejected?.detail).toBe('By ann. Found: 10.0.2.14 clean, web01 compromised. it serves the shop');
    expect(outcome?.detail).toBe('Holds now: contained. Found: 10.0.2.14 clean, web01 compromised.');
    expect(plain).toMatchObject({ title: 'Step 1 could not be carried out', detail: 'Holds now: nothing yet.' });
  });

  it('puts states into words', () => {
    expect(holding(undefined)).toBe('nothing yet');
  });
});
