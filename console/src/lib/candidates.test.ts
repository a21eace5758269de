import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CostEstimateSchema, PlanStepSchema } from '../gen/countermove/v1/incident_pb';
import { at, axis, bars, ends, ties, tieSize } from './candidates';

const cost = (terminal: number, mean: number | undefined, more: object = {}) => create(CostEstimateSchema, { terminal, mean, ...more });

describe('candidates', () => {
  it('tie where the rollouts do not tell them apart, and only there', () => {
    expect(ties(cost(9, 8.25), cost(40, 8.25 + 1e-12))).toBe(true);
    expect(ties(cost(9, 8.25), cost(40, 8.26))).toBe(false);
    expect(ties(cost(0, undefined), cost(0, undefined))).toBe(false);
    // The same mean over the few that recovered is no tie with one over most.
    expect(ties(cost(9, 8.25), cost(2, 8.25, { truncated: 8 }))).toBe(false);
    expect(ties(undefined, cost(1, 1))).toBe(false);
  });

  it('are counted as a tie with the best, not with the chosen one', () => {
    const step = create(PlanStepSchema, {
      chosen: 1,
      assurance: { best: 0 },
      candidates: [0, 1, 2].map((index) => ({ index, action: { text: `do ${index}` }, cost: { terminal: 5, mean: index === 1 ? 7 : 6 } })),
    });
    const all = bars(step);
    expect(all.map((one) => [one.chosen, one.best, one.tied])).toEqual([
      [false, true, false],
      [true, false, false],
      [false, false, true],
    ]);
    expect(tieSize(all)).toBe(2);
  });

  it('stand on one axis that holds all intervals, with round ticks', () => {
    const scale = axis([cost(9, 8.56, { likelyLow: 6, likelyHigh: 16 }), cost(9, 8.1, { likelyLow: 6 }), undefined]);
    expect(scale.low).toBeLessThanOrEqual(6);
    expect(scale.high).toBeGreaterThanOrEqual(16);
    expect(scale.ticks.length).toBeGreaterThan(2);
    expect(scale.ticks.every((tick) => Number.isInteger(tick))).toBe(true);
    expect(at(scale.low, scale)).toBe(0);
    expect(at(scale.high, scale)).toBe(100);
    expect(at(1e9, scale)).toBe(100);
  });

  it('without figures have an axis all the same', () => {
    expect(axis([])).toEqual({ low: 0, high: 1, ticks: [] });
    const single = axis([cost(3, 4, { likelyLow: 4, likelyHigh: 4 })]);
    expect(single.high).toBeGreaterThan(single.low);
    expect(Number.isFinite(at(4, single))).toBe(true);
  });

  it('say how their rollouts ended', () => {
    expect(ends(cost(39, 8, { truncated: 1 }))).toBe('39 of 40 recovered, 1 cut off');
    expect(ends(undefined)).toBe('not simulated');
  });
});
