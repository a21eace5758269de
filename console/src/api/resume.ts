// A stream that is taken up again where it broke off.
import { passes } from './errors';

/** What is known of the line to the coordinator. */
export interface Line {
  /** A message came, or the stream stands. */
  up(): void;
  /** The stream broke; it is tried again after `wait` ms. */
  down(error: unknown, wait: number): void;
}

export interface Streaming<T> {
  /** Opens the stream behind what was seen already. */
  open(signal: AbortSignal): AsyncIterable<T>;
  /** Takes a message. */
  take(message: T): void;
  /** Called when the stream ended by itself; true: open it again. */
  ended?(): boolean;
  line: Line;
  signal: AbortSignal;
  /** Pause, in ms; tests give their own. */
  pause?(wait: number, signal: AbortSignal): Promise<void>;
}

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

/** How long to wait before attempt `failures` + 1, in ms: doubled each time, up to a bound. */
export function wait(failures: number): number {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.max(0, failures - 1));
}

/** Reads until the stream has ended, the signal says stop, or an error comes that no retry mends; that one is thrown. */
export async function follow<T>(stream: Streaming<T>): Promise<void> {
  const pause = stream.pause ?? sleep;
  let failures = 0;
  while (!stream.signal.aborted) {
    try {
      for await (const message of stream.open(stream.signal)) {
        failures = 0;
        stream.line.up();
        stream.take(message);
      }
      if (stream.signal.aborted || !stream.ended?.()) return;
      failures = Math.max(failures, 1);
    } catch (error) {
      if (stream.signal.aborted) return;
      if (!passes(error)) throw error;
      failures += 1;
      stream.line.down(error, wait(failures));
    }
    await pause(wait(failures), stream.signal);
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
