import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { EntitiesSchema, FindingVerdict, PlanStepSchema } from '../gen/countermove/v1/incident_pb';
import { completions, foundWord, offered, toSend, typed, type Row } from './findings';

const { UNSPECIFIED, COMPROMISED, CLEAN } = FindingVerdict;

const entities = create(EntitiesSchema, {
  attackers: ['203.0.113.7'],
  systems: ['10.0.2.13', '10.0.2.14', '10.0.2.15', '10.0.2.16'],
  targets: ['10.0.2.13'],
  names: [{ name: 'web01', address: '10.0.2.13' }],
  compromised: [{ host: '10.0.2.14', probability: 0.3 }, { host: '10.0.2.13', probability: 0.9 }, { host: '10.0.2.15', probability: 0.001 }],
  stolenAccounts: ['alice'],
  seenAccounts: ['bob', 'carol'],
  heldAccounts: [{ account: 'alice', probability: 0.6 }],
  contacts: ['c2.example'],
});
const action = (text: string, takesDown: string[] = [], more: object = {}) => create(PlanStepSchema, { index: 0, candidates: [{ index: 0, action: { text }, takesDown }], ...more });
const names = (rows: Row[]) => rows.map((row) => row.name);

describe('who is offered', () => {
  it('is whom the action names, then who is suspected, the likeliest first', () => {
    const rows = offered(action('Search the logs of 10.0.2.14 for bob and c2.example'), entities);
    expect(rows.map((row) => [row.name, row.label, row.probability])).toEqual([
      ['10.0.2.14', '10.0.2.14', expect.closeTo(0.3)],
      ['bob', 'bob', undefined],
      ['c2.example', 'c2.example', undefined],
      ['10.0.2.13', 'web01 (10.0.2.13)', expect.closeTo(0.9)],
      ['alice', 'alice', expect.closeTo(0.6)],
    ]);
    expect(rows.every((row) => row.verdict === UNSPECIFIED)).toBe(true);
  });

  it('is whom the action takes down, once, and an address that it blocks', () => {
    expect(names(offered(action('Isolate web01 from 203.0.113.7', ['10.0.2.13', 'alice']), entities))).toEqual(['10.0.2.13', 'alice', '203.0.113.7', '10.0.2.14']);
  });

  it('goes by what is believed before the step', () => {
    const belief = { compromised: [{ host: '10.0.2.15', probability: 0.95 }], heldAccounts: [{ account: 'carol', probability: 0.4 }] };
    expect(names(offered(action('Wait', [], { index: 1, belief }), entities))).toEqual(['10.0.2.15', '10.0.2.13', 'carol', '10.0.2.14']);
  });

  it('is nobody where nothing is known, and no more than a report may hold', () => {
    expect(offered(action('Wait'), undefined)).toEqual([]);
    const many = create(EntitiesSchema, { compromised: Array.from({ length: 99 }, (_, i) => ({ host: `10.0.3.${i}`, probability: 0.5 })) });
    expect(offered(action('Wait'), many)).toHaveLength(64);
  });

  it('leaves the others to be typed', () => {
    const rows = offered(action('Wait'), entities);
    expect(completions(entities, rows)).toEqual(['bob', 'carol', 'c2.example', '10.0.2.15', '203.0.113.7', '10.0.2.16']);
    expect(completions(undefined, [])).toEqual([]);
  });
});

describe('what is sent', () => {
  const row = (name: string, verdict: FindingVerdict): Row => ({ name, label: name, probability: undefined, verdict });
  const other = (name: string, verdict: FindingVerdict): Row => ({ ...typed(), name, verdict });

  it('is what was told, and nothing of others', () => {
    expect(toSend(offered(action('Wait'), entities), entities)).toEqual({ findings: [], problem: '' });
    expect(toSend([row('10.0.2.13', COMPROMISED), row('10.0.2.14', UNSPECIFIED), row('alice', CLEAN), other(' bob ', CLEAN), typed()], entities)).toEqual({
      findings: [
        { name: '10.0.2.13', verdict: COMPROMISED },
        { name: 'alice', verdict: CLEAN },
        { name: 'bob', verdict: CLEAN },
      ],
      problem: '',
    });
  });

  it('names each once, by whichever name', () => {
    expect(toSend([row('10.0.2.13', CLEAN), other('WEB01', CLEAN)], entities).findings).toEqual([{ name: '10.0.2.13', verdict: CLEAN }]);
    const twice = toSend([row('10.0.2.13', CLEAN), row('alice', CLEAN), other('web01', COMPROMISED)], entities);
    expect(twice).toEqual({ findings: [], problem: '"web01" is told twice: clean and compromised.' });
  });

  it('is nothing while a name or what was found of it is missing', () => {
    expect(toSend([row('alice', CLEAN), other('bob', UNSPECIFIED)], entities)).toEqual({ findings: [], problem: 'Say what was found of "bob", or take the name out.' });
    expect(toSend([other(' ', COMPROMISED)], entities)).toEqual({ findings: [], problem: 'Say who was found compromised.' });
  });
});

describe('what was found', () => {
  it('is told in one line', () => {
    const findings = [{ name: '10.0.2.14', verdict: CLEAN }, { name: '10.0.2.13', verdict: COMPROMISED }];
    expect(foundWord(findings)).toBe('10.0.2.14 clean, 10.0.2.13 compromised');
    expect(foundWord(findings, entities)).toBe('10.0.2.14 clean, web01 (10.0.2.13) compromised');
    expect(foundWord([])).toBe('');
  });
});
