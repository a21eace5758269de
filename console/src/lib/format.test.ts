import { describe, expect, it } from 'vitest';
import { cost, count, grouped, list, percent, span, thousands } from './format';

describe('numbers and times', () => {
  it('are coarser the larger they are', () => {
    expect([0, 59_999, 60_000, 3_599_000, 3_600_000, 11_100_000, 172_800_000].map(span)).toEqual([
      '0 s',
      '59 s',
      '1 min',
      '59 min',
      '1 h 00',
      '3 h 05',
      '2 d',
    ]);
    expect(span(-5)).toBe('0 s');
  });

  it('never round a share to none or all that is neither', () => {
    expect([0, 0.001, 0.5, 0.994, 0.996, 1].map(percent).map((text) => text.replaceAll('\u00a0', ' '))).toEqual(['0 %', '< 1 %', '50 %', '99 %', '> 99 %', '100 %']);
    expect(percent(Number.NaN)).toBe('–');
  });

  it('read like text', () => {
    expect(thousands(1234567n)).toBe('1,234,567');
    expect(thousands(999)).toBe('999');
    expect(count(1, 'record')).toBe('1 record');
    expect(count(2n, 'record')).toBe('2 records');
    expect(list([])).toBe('');
    expect(list(['a', 'b', 'c'])).toBe('a, b and c');
    expect(grouped('6353a0d2b')).toBe('6353 a0d2 b');
    expect(cost(undefined)).toBe('–');
    expect(cost(8.4)).toBe('8.40');
  });
});
