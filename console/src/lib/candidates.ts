// Candidates of a step side by side: their intervals on one axis, and which of them the rollouts do not tell apart.
import type { Candidate, CostEstimate, PlanStep, Reversibility } from '../gen/countermove/v1/incident_pb';

/** Costs that differ by less are the same cost, as for the planner. */
const SAME_COST = 1e-9;

export interface Axis {
  low: number;
  high: number;
  ticks: number[];
}

export interface Bar {
  index: number;
  text: string;
  explanation: string;
  cost: CostEstimate | undefined;
  /** Rollouts that were run. */
  n: number;
  chosen: boolean;
  /** What the planner had chosen, where somebody chose another one. */
  planned: boolean;
  takesDown: string[];
  reversibility: Reversibility;
  /** Hash that an approval of it names; empty: it cannot be approved. */
  hash: string;
  best: boolean;
  /** It costs the same as the best as far as the rollouts can tell. */
  tied: boolean;
}

export function rollouts(cost: CostEstimate | undefined): number {
  return cost ? cost.terminal + cost.truncated + cost.malformed + cost.cancelled : 0;
}

/** 0: half of the rollouts recovered; 1: fewer; 2: none. Candidates of different groups are no tie. */
function group(cost: CostEstimate): number {
  if (cost.terminal === 0) return 2;
  return 2 * cost.terminal >= rollouts(cost) - cost.cancelled ? 0 : 1;
}

export function ties(a: CostEstimate | undefined, b: CostEstimate | undefined): boolean {
  if (a?.mean === undefined || b?.mean === undefined) return false;
  return group(a) === group(b) && Math.abs(a.mean - b.mean) < SAME_COST;
}

export function bars(step: PlanStep): Bar[] {
  const best = step.candidates.find((one) => one.index === (step.assurance?.best ?? step.chosen));
  return step.candidates.map((one) => bar(one, step, best));
}

function bar(one: Candidate, step: PlanStep, best: Candidate | undefined): Bar {
  const isBest = one === best;
  return {
    index: one.index,
    text: one.action?.text ?? '',
    explanation: one.action?.explanation ?? '',
    cost: one.cost,
    n: rollouts(one.cost),
    chosen: one.index === step.chosen,
    planned: step.plannerChoice !== undefined && one.index === step.plannerChoice,
    takesDown: one.takesDown,
    reversibility: one.reversibility,
    hash: one.planHash,
    best: isBest,
    tied: !isBest && ties(one.cost, best?.cost),
  };
}

/** How many cost the same as the best, the best itself counted; 1: no tie. */
export function tieSize(all: readonly Bar[]): number {
  return 1 + all.filter((one) => one.tied).length;
}

/** An axis that holds all means and what nine in ten recoveries cost, with round ticks. */
export function axis(costs: readonly (CostEstimate | undefined)[]): Axis {
  const values = costs
    .flatMap((cost) => [cost?.mean, cost?.likelyLow, cost?.likelyHigh])
    .filter((value): value is number => value !== undefined && Number.isFinite(value));
  if (values.length === 0) return { low: 0, high: 1, ticks: [] };
  const least = Math.min(...values);
  const most = Math.max(...values);
  const pad = Math.max((most - least) * 0.08, 0.5);
  const step = roundStep((most - least + 2 * pad) / 5);
  const low = Math.max(0, Math.floor((least - pad) / step) * step);
  const high = Math.max(low + step, Math.ceil((most + pad) / step) * step);
  const ticks: number[] = [];
  for (let i = 0; low + i * step <= high + step / 1e6; i += 1) ticks.push(Number((low + i * step).toFixed(6)));
  return { low, high, ticks };
}

/** The next of 1, 2, 5 times a power of ten. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-6)));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= least) ?? 10);
}

/** Where a value stands on the axis, from 0 to 100. */
export function at(value: number, { low, high }: Axis): number {
  return Math.min(100, Math.max(0, (100 * (value - low)) / (high - low)));
}

/** `39 of 40 recovered, 1 cut off`. */
export function ends(cost: CostEstimate | undefined): string {
  if (!cost) return 'not simulated';
  const parts = [`${cost.terminal} of ${rollouts(cost)} recovered`];
  if (cost.truncated > 0) parts.push(`${cost.truncated} cut off`);
  if (cost.malformed > 0) parts.push(`${cost.malformed} malformed`);
  if (cost.cancelled > 0) parts.push(`${cost.cancelled} cancelled`);
  return parts.join(', ');
}
