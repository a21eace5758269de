import { describe, expect, it } from 'vitest';
import { address, parse, type Route } from './route';

describe('addresses', () => {
  it('go both ways', () => {
    const routes: Route[] = [
      { page: 'queue' },
      { page: 'new' },
      { page: 'fleet' },
      { page: 'incident', id: '01a21cab-3743-761e' },
      { page: 'record', id: '01a21cab-3743-761e' },
    ];
    for (const route of routes) {
      const query = new URLSearchParams({ q: 'a b&c' });
      const place = parse(address(route, query));
      expect(place.route).toEqual(route);
      expect(place.query.get('q')).toBe('a b&c');
    }
  });

  it('that are none lead nowhere', () => {
    for (const hash of ['#/nothing', '#/incidents', '#/incidents/a b', '#/incidents/x/record/more', '#/new/x', `#/incidents/${'x'.repeat(129)}`, '#/incidents/<script>']) {
      expect(parse(hash).route).toEqual({ page: 'lost' });
    }
    expect(parse('').route).toEqual({ page: 'queue' });
  });
});
