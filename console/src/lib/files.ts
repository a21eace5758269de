// Logs that are dropped on the page, as text.

/** Most bytes of alerts in one message. */
export const MOST_BYTES = 64 * 1024 * 1024;
/** Most bytes of a system description. */
export const MOST_DESCRIPTION = 1024 * 1024;

export interface Read {
  text: string;
  /** What a person should know, one sentence; empty: nothing. */
  problem: string;
}

/** Reads files one behind the other; packed ones (gzip) are unpacked. */
export async function read(files: readonly File[]): Promise<Read> {
  const texts: string[] = [];
  let room = MOST_BYTES;
  for (const file of files) {
    const bytes = await unpacked(file, room).catch(() => undefined);
    if (bytes === undefined) return { text: texts.join('\n'), problem: tooLarge(file.name) };
    const text = decoded(bytes);
    if (text === undefined) {
      return { text: texts.join('\n'), problem: `${file.name} is not UTF-8 text, so it was left out; the command line reads other encodings and archives.` };
    }
    room -= bytes.length + 1;
    texts.push(text.replace(/\n$/, ''));
  }
  return { text: texts.join('\n'), problem: '' };
}

function tooLarge(name: string): string {
  return `${name} cannot be unpacked, or there is more than 64 MiB in all; the command line folds larger logs before it sends them.`;
}

async function unpacked(file: File, room: number): Promise<Uint8Array> {
  const head = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const isPacked = head[0] === 0x1f && head[1] === 0x8b;
  if (!isPacked) {
    if (file.size > room) throw new RangeError('too large');
    return new Uint8Array(await file.arrayBuffer());
  }
  const reader = file.stream().pipeThrough(new DecompressionStream('gzip')).getReader();
  const pieces: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > room) {
      await reader.cancel();
      throw new RangeError('too large');
    }
    pieces.push(value);
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
