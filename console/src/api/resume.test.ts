import { Code, ConnectError } from '@connectrpc/connect';
import { describe, expect, it } from 'vitest';
import { passes, sentence } from './errors';
import { follow, wait, type Line } from './resume';

async function* stream(...messages: (number | Error)[]) {
  for (const message of messages) {
    if (message instanceof Error) throw message;
    yield message;
  }
}

function listening() {
  const told: string[] = [];
  const line: Line = { up: () => told.push('up'), down: (error, pause) => told.push(`down ${sentence(error)} ${pause}`) };
  return { told, line, signal: new AbortController().signal, pause: () => Promise.resolve() };
}

describe('a stream', () => {
  const lost = new ConnectError('gone', Code.Unavailable);

  it('is taken up again behind what was seen, and loses nothing', async () => {
    const seen: number[] = [];
    const opened: number[] = [];
    const { told, ...rest } = listening();
    const all = [1, 2, 3, 4, 5];
    await follow<number>({
      ...rest,
      open: () => {
        const after = seen.at(-1) ?? 0;
        opened.push(after);
        const left = all.slice(after, after + 2);
        return stream(...left, ...(after + 2 < all.length ? [lost] : []));
      },
      take: (message) => void seen.push(message),
    });
    expect(seen).toEqual(all);
    expect(opened).toEqual([0, 2, 4]);
    expect(told.filter((word) => word.startsWith('down'))).toEqual(['down Gone. 500', 'down Gone. 500']);
  });

  it('is not asked for again where that cannot help', async () => {
    const { line, signal, pause } = listening();
    const refused = new ConnectError('no', Code.PermissionDenied);
    await expect(follow({ open: () => stream(refused), take: () => {}, line, signal, pause })).rejects.toThrow('no');
  });

  it('waits longer each time, up to a bound', () => {
    expect([1, 2, 3, 10, 100].map(wait)).toEqual([500, 1000, 2000, 15_000, 15_000]);
  });

  it('stops when nobody looks any more', async () => {
    const stop = new AbortController();
    const { line, pause } = listening();
    let opened = 0;
    await follow({
      open: () => ((opened += 1), stop.abort(), stream(lost)),
      take: () => {},
      line,
      signal: stop.signal,
      pause,
    });
    expect(opened).toBe(1);
  });
});

describe('errors', () => {
  it('are sentences', () => {
    expect(sentence(new ConnectError('the step was decided anew', Code.FailedPrecondition))).toBe('The step was decided anew.');
    expect(sentence(new TypeError('Failed to fetch'))).toBe('The coordinator does not answer.');
    expect(sentence(new ConnectError('', Code.DeadlineExceeded))).toContain('in time');
  });

  it('pass or stay', () => {
    expect(passes(new TypeError('Failed to fetch'))).toBe(true);
    expect(passes(new ConnectError('x', Code.ResourceExhausted))).toBe(true);
    expect(passes(new ConnectError('x', Code.NotFound))).toBe(false);
  });
});
