import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { AssessmentSchema, AttackSchema, Tactic } from '../gen/countermove/v1/incident_pb';
import { attackClaim, claimTitle, claims, hostClaim, hostLabel, lines, mentions, named, parts, restingOn, tacticClaim } from './evidence';

const assessment = create(AssessmentSchema, {
  entities: {
    attackers: ['203.0.113.7'],
    systems: ['10.0.2.1', '10.0.2.13', '10.0.2.14'],
    targets: ['10.0.2.13'],
    names: [{ name: 'web_shop', address: '10.0.2.13' }],
    compromised: [{ host: '10.0.2.13', probability: 0.9 }],
  },
  tactics: [
    { tactic: Tactic.LATERAL_MOVEMENT, weight: 0.7, evidence: [{ number: 12, text: '13:10:51 x15 P1 SSH TCP 203.0.113.7 -> 10.0.2.13, 10.0.2.14 port 22' }] },
    { tactic: Tactic.INITIAL_ACCESS, weight: 0.3, evidence: [{ number: 3, text: '13:09 login on web_shop' }, { number: 12, text: '13:10:51 x15 P1 SSH TCP 203.0.113.7 -> 10.0.2.13, 10.0.2.14 port 22' }] },
  ],
});

describe('claims and records', () => {
  it('find each other, both ways', () => {
    const all = claims(assessment);
    expect(all.get(tacticClaim(Tactic.INITIAL_ACCESS))?.lines).toEqual([3, 12]);
    expect(all.get(hostClaim('10.0.2.13'))?.lines).toEqual([3, 12]);
    expect(all.get(hostClaim('10.0.2.1'))?.lines).toEqual([]);
    expect(restingOn(3, all)).toEqual([tacticClaim(Tactic.INITIAL_ACCESS), hostClaim('10.0.2.13')]);
    expect(lines(assessment).map((line) => line.number)).toEqual([3, 12]);
  });

  it('tell attacks apart where there are several', () => {
    expect(claims(assessment).has(attackClaim(0))).toBe(false);
    const attack = (attacker: string, groups: number[]) => create(AttackSchema, { attackers: [attacker], targets: ['10.0.2.13'], groups });
    const two = claims(create(AssessmentSchema, { ...assessment, attacks: [attack('203.0.113.7', [3]), attack('203.0.113.8', [12])] }));
    expect(two.get(attackClaim(1))?.lines).toEqual([12]);
    expect(restingOn(3, two)).toContain(attackClaim(0));
    expect(claimTitle(attackClaim(1))).toBe('Attack 2');
  });

  it('take no host for another whose name begins or ends like it', () => {
    expect(mentions('to 10.0.2.13:22', '10.0.2.1')).toBe(false);
    expect(mentions('to 110.0.2.1', '10.0.2.1')).toBe(false);
    expect(mentions('to 10.0.2.1.', '10.0.2.1')).toBe(true);
    expect(mentions('10.0.2.1:443', '10.0.2.1')).toBe(true);
    expect(mentions('on DB-2 now', 'db')).toBe(false);
    expect(mentions('anything', '')).toBe(false);
  });

  it('name whom an action names, by address and by name', () => {
    expect(named('Isolate web_shop from the network', assessment.entities)).toEqual(['10.0.2.13']);
    expect(named('Block all traffic from 203.0.113.7', assessment.entities)).toEqual(['203.0.113.7']);
    expect(named('Wait', undefined)).toEqual([]);
    expect(hostLabel('10.0.2.13', assessment.entities)).toBe('web_shop (10.0.2.13)');
    expect(hostLabel('10.0.2.14', assessment.entities)).toBe('10.0.2.14');
  });
});

describe('a line of evidence', () => {
  it('is taken apart', () => {
    expect(parts('02:06-02:08 x16 P1 Failed logins')).toEqual({ time: '02:06-02:08', times: '16', priority: '1', text: 'Failed logins' });
    expect(parts('13:10:51 P2 Scan')).toEqual({ time: '13:10:51', times: '', priority: '2', text: 'Scan' });
  });

  it('of another form is all text', () => {
    expect(parts('<script>alert(1)</script>').text).toBe('<script>alert(1)</script>');
    expect(parts('').text).toBe('');
    expect(parts('a\nb').text).toBe('a\nb');
  });
});
