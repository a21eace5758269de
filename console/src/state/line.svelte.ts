// The line to the coordinator, as the banner tells of it.
import { sentence } from '../api/errors';

class Line {
  /** Why there is none; empty: there is one. */
  problem = $state('');
  /** Since when, in ms. */
  since = $state(0);
  /** When it is tried again, in ms. */
  again = $state(0);

  /** Aborts when all that came over the line is to be asked for anew. */
  private breaker = new AbortController();

  get unbroken(): AbortSignal {
    return this.breaker.signal;
  }

  /** Nothing is heard any more. Streams that would not notice by themselves are opened again. */
  cut(): void {
    this.breaker.abort();
    this.breaker = new AbortController();
  }

  up(): void {
    if (this.problem) this.problem = '';
  }

  down(error: unknown, wait: number): void {
    if (!this.problem) this.since = Date.now();
    this.problem = sentence(error);
    this.again = Date.now() + wait;
  }
}

export const line = new Line();
