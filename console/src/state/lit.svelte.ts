// The claim or the record that somebody points at. Pointing shows the other side; a click keeps it.
import { restingOn, type Claim } from '../lib/evidence';

export class Lit {
  private pointed = $state('');
  private kept = $state('');

  constructor(private readonly claims: () => Map<string, Claim>) {}

  get on(): string {
    return this.pointed || this.kept;
  }

  point(id: string): void {
    this.pointed = id;
  }

  leave(): void {
    this.pointed = '';
  }

  keep(id: string): void {
    this.kept = this.kept === id ? '' : id;
  }

  isKept(id: string): boolean {
    return this.kept === id;
  }

  get any(): boolean {
    return this.on !== '';
  }

  claim(id: string): boolean {
    const number = recordNumber(this.on);
    return this.on === id || (number !== undefined && restingOn(number, this.claims()).includes(id));
  }

  record(number: number): boolean {
    if (this.on === recordId(number)) return true;
    return this.claims().get(this.on)?.lines.includes(number) ?? false;
  }

  edge(lines: readonly number[]): boolean {
    return lines.some((line) => this.record(line));
  }
}

export const recordId = (number: number) => `record-${number}`;

function recordNumber(id: string): number | undefined {
  const found = /^record-(\d+)$/.exec(id);
  return found ? Number(found[1]) : undefined;
}
