import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { EntitiesSchema, EvidenceLineSchema } from '../gen/countermove/v1/incident_pb';
import { ends, networkOf, OUTSIDE, picture, probabilities } from './network';

describe('who speaks to whom', () => {
  it('is read off a folded line', () => {
    expect(ends('P1 SSH TCP 10.0.1.11 -> 10.0.2.14, 10.0.2.15 port 22')).toEqual({ from: ['10.0.1.11'], to: ['10.0.2.14', '10.0.2.15'] });
    expect(ends('TCP 172.16.10.11:80 -> 203.0.113.47')).toEqual({ from: ['172.16.10.11'], to: ['203.0.113.47'] });
    expect(ends('beacon TCP 10.0.0.1, 10.0.0.2 -> 198.51.100.201:8443')).toEqual({ from: ['10.0.0.1', '10.0.0.2'], to: ['198.51.100.201'] });
    expect(ends('x 2001:db8::5 -> [2001:db8::7]:22')).toEqual({ from: ['2001:db8::5'], to: ['2001:db8::7'] });
    expect(ends('no arrow here')).toEqual({ from: [], to: [] });
  });
});

describe('the picture', () => {
  const entities = create(EntitiesSchema, {
    attackers: ['203.0.113.7', '10.0.2.11'],
    systems: ['10.0.1.1', '10.0.2.11', '10.0.2.12', '10.0.3.1', ...Array.from({ length: 20 }, (_, i) => `10.0.2.${100 + i}`)],
    targets: ['10.0.2.12'],
    names: [{ name: 'web', address: '10.0.2.12' }],
    compromised: [{ host: '10.0.2.12', probability: 0.9 }, { host: '10.0.3.1', probability: 0.2 }],
  });
  const evidence = [
    create(EvidenceLineSchema, { number: 1, text: 'TCP 203.0.113.7 -> 10.0.2.12:80' }),
    create(EvidenceLineSchema, { number: 2, text: 'TCP 203.0.113.7 -> 10.0.2.12:81' }),
    create(EvidenceLineSchema, { number: 3, text: 'TCP 10.0.2.12 -> 10.0.2.11:22' }),
    create(EvidenceLineSchema, { number: 4, text: 'TCP 9.9.9.9 -> 8.8.8.8:53' }),
  ];

  it('has each host once, in its network, and counts those that are not drawn', () => {
    const { zones } = picture(entities, probabilities(entities, undefined), evidence);
    expect(zones[0]?.title).toBe(OUTSIDE);
    expect(zones[0]?.hosts.map((host) => host.address)).toEqual(['203.0.113.7']);
    const total = zones.reduce((sum, zone) => sum + zone.hosts.length + zone.more, 0);
    expect(total).toBe(entities.systems.length + 1);
    const inner = zones.find((zone) => zone.title === '10.0.2.0/24');
    expect(inner?.hosts.map((host) => host.address)).toEqual(['10.0.2.11', '10.0.2.12']);
    expect(inner?.more).toBe(20);
  });

  it('draws what the evidence tells between known hosts, each pair once', () => {
    const { edges } = picture(entities, probabilities(entities, undefined), evidence);
    expect(edges.map((edge) => [edge.from.address, edge.to.address, edge.lines])).toEqual([
      ['203.0.113.7', '10.0.2.12', [1, 2]],
      ['10.0.2.12', '10.0.2.11', [3]],
    ]);
  });

  it('stays within its frame', () => {
    const { zones, width, height } = picture(entities, probabilities(entities, undefined), evidence);
    for (const zone of zones) {
      expect(zone.x + zone.width).toBeLessThanOrEqual(width);
      expect(zone.y + zone.height).toBeLessThanOrEqual(height + 0.01);
      for (const host of zone.hosts) expect(host.y).toBeLessThan(zone.y + zone.height);
    }
  });

  it('goes by the belief of a step where there is one', () => {
    expect(probabilities(entities, [{ host: '10.0.2.12', probability: 0.1 } as never]).get('10.0.2.12')).toBe(0.1);
    expect(networkOf('2001:db8:40::5')).toBe('2001:db8:40::/64');
    expect(networkOf('printer')).toBe('No address');
  });

  it('of nothing is empty', () => {
    expect(picture(create(EntitiesSchema, {}), new Map(), []).zones).toEqual([]);
  });
});
