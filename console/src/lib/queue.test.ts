import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { IncidentSchema, IncidentStatus, Priority } from '../gen/countermove/v1/incident_pb';
import { ordered, passes, readFilter, title, waits, writeFilter } from './queue';

const at = (seconds: number) => ({ seconds: BigInt(seconds), nanos: 0 });

function incident(name: string, status: IncidentStatus, seconds: number, more: object = {}) {
  return create(IncidentSchema, { name: `incidents/${name}`, status, updateTime: at(seconds), ...more });
}

describe('the queue', () => {
  const old = incident('old', IncidentStatus.AWAITING_APPROVAL, 900, { pending: { decideTime: at(100) } });
  const fresh = incident('fresh', IncidentStatus.AWAITING_APPROVAL, 200, { priority: Priority.URGENT, tenant: 'blue' });
  const outcome = incident('outcome', IncidentStatus.AWAITING_OUTCOME, 1);
  const planning = incident('planning', IncidentStatus.PLANNING, 5);
  const first = incident('first', IncidentStatus.ENDED, 10);
  const last = incident('last', IncidentStatus.ENDED, 20);

  it('holds what waits longest first, and what ended last first', () => {
    const names = ordered([first, planning, fresh, last, outcome, old]).map((one) => one.name.slice('incidents/'.length));
    expect(names).toEqual(['old', 'fresh', 'outcome', 'planning', 'last', 'first']);
  });

  it('knows what waits for somebody', () => {
    expect([old, outcome, planning, first].map(waits)).toEqual([true, true, false, false]);
  });

  it('is filtered by what stands in the address', () => {
    const filter = readFilter(new URLSearchParams('state=decision,nonsense&urgency=urgent&tenant=blue'));
    expect(filter.groups).toEqual(['decision']);
    expect([old, fresh].map((one) => passes(one, filter))).toEqual([false, true]);
    expect(readFilter(writeFilter(filter))).toEqual(filter);
    expect(writeFilter(readFilter(new URLSearchParams())).toString()).toBe('');
  });

  it('is searched by name, label, ticket, text and action', () => {
    const one = incident('x1', IncidentStatus.PLANNING, 1, {
      externalId: 'INC-7',
      labels: { site: 'lab' },
      assessment: { description: 'SSH guessing', entities: { targets: ['10.0.0.9'] } },
      pending: { action: { text: 'Isolate files01' } },
    });
    const found = (q: string) => passes(one, readFilter(new URLSearchParams({ q })));
    for (const q of ['X1', 'inc-7', 'site: lab', 'ssh', '10.0.0.9', 'files01', ' ']) expect(found(q), q).toBe(true);
    expect(found('nobody')).toBe(false);
  });

  it('is counted in the title', () => {
    expect(title(3, '')).toBe('(3) Countermove');
    expect(title(0, 'Fleet')).toBe('Fleet · Countermove');
  });
});
