import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { IncidentSchema, IncidentStatus, PlanStepSchema } from '../gen/countermove/v1/incident_pb';
import { approvalsWord, bind, confirms, stale } from './approval';

const HASH = '6353a0d29eb64665';
const OTHER = 'beef00001111';

function waiting(hash = HASH, index = 0, status = IncidentStatus.AWAITING_APPROVAL) {
  const step = create(PlanStepSchema, { index, chosen: 0, planHash: hash, candidates: [{ index: 0, planHash: hash }, { index: 1, planHash: OTHER }] });
  return create(IncidentSchema, { name: 'incidents/1', status, plan: { steps: [step] } });
}

describe('an approval', () => {
  const seen = waiting();
  const step = seen.plan!.steps[0]!;

  it('asks for the first four digits of the hash, and nothing else will do', () => {
    expect(confirms('6353', HASH)).toBe(true);
    expect(confirms(' 63 53 ', HASH)).toBe(true);
    expect(confirms('6353', HASH.toUpperCase())).toBe(true);
    for (const typed of ['', '635', '63530', '0000', 'y', HASH]) expect(confirms(typed, HASH), typed).toBe(false);
    expect(confirms('', '')).toBe(false);
    expect(confirms('6353', '6353')).toBe(false);
  });

  it('is one of several where two people have to give it', () => {
    const chosen = { ...step.candidates[0]!, approvers: 2 };
    const given = create(PlanStepSchema, { approvals: [{ approver: 'ann', planHash: HASH }, { approver: 'bob', planHash: OTHER }] }).approvals;
    expect(approvalsWord(chosen, given)).toBe('1 of 2 approvals, by ann');
    expect(approvalsWord(chosen, [])).toBe('0 of 2 approvals');
    expect(approvalsWord(step.candidates[0], given)).toBe('');
  });

  it('is for what was seen', () => {
    const bound = bind(seen, step, 0);
    expect(stale(bound, seen)).toBe('');
    expect(stale(bound, waiting())).toBe('');
    expect(stale(bound, waiting('ffff0000'))).toContain('decided anew');
    expect(stale(bound, waiting(HASH, 1))).toContain('decided anew');
    expect(stale(bound, waiting(HASH, 0, IncidentStatus.AWAITING_OUTCOME))).toContain('Somebody approved');
    expect(stale(bound, waiting(HASH, 0, IncidentStatus.PLANNING))).toContain('does not wait');
    expect(stale(bound, undefined)).not.toBe('');
  });

  it('may be of another candidate, by its own hash', () => {
    const bound = bind(seen, step, 1);
    expect(bound.hash).toBe(OTHER);
    expect(stale(bound, seen)).toBe('');
    expect(confirms('6353', bound.hash)).toBe(false);
    expect(confirms('beef', bound.hash)).toBe(true);
  });

  it('of a candidate without a hash can never be confirmed', () => {
    expect(confirms('', bind(seen, step, 7).hash)).toBe(false);
  });
});
