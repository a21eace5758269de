// Rates from counters that only grow, as a coordinator tells them from time to time.

export interface Sample {
  at: number;
  total: number;
}

export class Rate {
  private last: Sample | undefined;
  readonly history: number[] = [];

  constructor(private readonly keep = 60) {}

  /** Takes what a counter says at a time (ms); gives the rate a second since the sample before, once there is one. */
  take(sample: Sample): number | undefined {
    const before = this.last;
    if (before && sample.at <= before.at) return this.history.at(-1);
    this.last = sample;
    // A counter that fell belongs to a process that was started anew: it has counted this much since.
    if (!before) return undefined;
    const gained = sample.total >= before.total ? sample.total - before.total : sample.total;
    const rate = (1000 * gained) / (sample.at - before.at);
    this.history.push(rate);
    if (this.history.length > this.keep) this.history.shift();
    return rate;
  }
}

/** A line through values, in a box of this size, the last value at its right edge. */
export function sparkline(values: readonly number[], width: number, height: number, places = 60): string {
  if (values.length < 2) return '';
  const most = Math.max(...values, 1e-9);
  const dx = width / (places - 1);
  const start = width - (values.length - 1) * dx;
  return values.map((value, i) => `${i === 0 ? 'M' : 'L'}${(start + i * dx).toFixed(1)},${(height - 1 - (value / most) * (height - 2)).toFixed(1)}`).join('');
}
