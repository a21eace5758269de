import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { GrantSchema, Role } from '../gen/countermove/v1/access_service_pb';
import { FindingVerdict, PlanEnd, Reversibility, Tactic } from '../gen/countermove/v1/incident_pb';
import { read } from './files';
import { labelsOf } from './labels';
import { Rate, sparkline } from './rates';
import { may, mayAnywhere } from './rights';
import { endSentence, endWord, tacticId, tacticName, takenBack, verdictWord } from './words';

describe('rights', () => {
  const caller = (tenant: string, ...roles: Role[]) => ({ name: 'ann', grants: [create(GrantSchema, { tenant, roles })] });

  it('go by role and tenant', () => {
    expect(may(caller('blue', Role.APPROVER), 'approve', 'blue')).toBe(true);
    expect(may(caller('blue', Role.APPROVER), 'approve', 'red')).toBe(false);
    expect(may(caller('*', Role.RESPONDER), 'act', 'red')).toBe(true);
    expect(may(caller('*', Role.RESPONDER), 'approve', 'red')).toBe(false);
    expect(may(caller('blue', Role.VIEWER), 'act', 'blue')).toBe(false);
    expect(may(caller('blue', Role.OPERATOR), 'steer', 'blue')).toBe(false);
    expect(mayAnywhere(caller('*', Role.OPERATOR), 'steer')).toBe(true);
    expect(mayAnywhere(caller('*', Role.OPERATOR), 'see')).toBe(false);
  });

  it('are all where nobody is asked, and none before the answer', () => {
    expect(may({ name: '', grants: [] }, 'approve', 'any')).toBe(true);
    expect(may(undefined, 'see', 'any')).toBe(false);
  });
});

describe('rates', () => {
  it('come from differences, and survive a counter that starts anew', () => {
    const rate = new Rate(3);
    expect(rate.take({ at: 1000, total: 50 })).toBeUndefined();
    expect(rate.take({ at: 3000, total: 250 })).toBe(100);
    expect(rate.take({ at: 3000, total: 999 })).toBe(100);
    expect(rate.take({ at: 4000, total: 30 })).toBe(30);
    for (let i = 5; i < 9; i += 1) rate.take({ at: i * 1000, total: 30 });
    expect(rate.history).toHaveLength(3);
  });

  it('are drawn to the right edge', () => {
    expect(sparkline([1], 10, 10)).toBe('');
    expect(sparkline([0, 2, 1], 100, 22, 3)).toBe('M0.0,21.0L50.0,1.0L100.0,11.0');
    expect(sparkline([0, 0], 100, 22)).not.toContain('NaN');
  });
});

describe('labels', () => {
  it('are pairs of a key and a value', () => {
    expect(labelsOf('team: emea, site=lab,\nnote: a: b')).toEqual({ labels: { team: 'emea', site: 'lab', note: 'a: b' }, problem: '' });
    expect(labelsOf('  ').labels).toEqual({});
    expect(labelsOf('nonsense').problem).toContain('"nonsense"');
    expect(labelsOf('a b: c').problem).not.toBe('');
  });
});

describe('files', () => {
  it('are read as text, packed ones as well, one behind the other', async () => {
    const packed = await new Response(new Blob(['second\n']).stream().pipeThrough(new CompressionStream('gzip'))).blob();
    const result = await read([new File(['first\n'], 'a.log'), new File([packed], 'b.log.gz')]);
    expect(result).toEqual({ text: 'first\nsecond', problem: '' });
  });

  it('that are no text, or broken, are refused by name', async () => {
    expect((await read([new File([new Uint8Array([0x80, 0x81])], 'x.evtx')])).problem).toContain('x.evtx is not UTF-8');
    expect((await read([new File([new Uint8Array([0x1f, 0x8b, 1, 2, 3])], 'x.gz')])).problem).toContain('x.gz cannot be unpacked');
  });
});

describe('words', () => {
  it('cover every value of the API', () => {
    const values = (all: object) => Object.values(all).filter((value): value is number => typeof value === 'number' && value > 0);
    for (const tactic of values(Tactic)) {
      expect(tacticName(tactic)).not.toContain('does not know');
      expect(tacticId(tactic)).toMatch(/^TA\d{4}$/);
    }
    for (const end of values(PlanEnd)) {
      expect(endWord(end)).not.toBe('ended');
      expect(endSentence(end, 2, 'no worker')).not.toBe('Planning goes on.');
    }
    for (const reversibility of values(Reversibility)) expect(takenBack(reversibility).word).not.toBe('not known');
    for (const verdict of values(FindingVerdict)) expect(verdictWord(verdict)).not.toBe('not told');
  });
});
