// Claims and the records that they rest on, both ways.
import type { Assessment, Entities, EvidenceLine } from '../gen/countermove/v1/incident_pb';
import { tacticName } from './words';

export interface Claim {
  id: string;
  /** Numbers of the evidence lines that speak for it. */
  lines: number[];
}

/** A line in parts; what is not of the usual form is all in `text`. */
export interface Parts {
  time: string;
  times: string;
  priority: string;
  text: string;
}

/** All lines of evidence that the beliefs rest on, by number. */
export function lines(assessment: Assessment | undefined): EvidenceLine[] {
  const all = new Map<number, EvidenceLine>();
  for (const belief of assessment?.tactics ?? []) {
    for (const line of belief.evidence) all.set(line.number, line);
  }
  return [...all.values()].sort((a, b) => a.number - b.number);
}

export const tacticClaim = (tactic: number) => `tactic-${tactic}`;
export const attackClaim = (index: number) => `attack-${index + 1}`;
export const hostClaim = (host: string) => `host-${host}`;

/** One claim for each believed tactic, each attack where several are told apart, and each host that the incident has to do with. */
export function claims(assessment: Assessment | undefined): Map<string, Claim> {
  const found = new Map<string, Claim>();
  if (!assessment) return found;
  const add = (id: string, lines: number[]) => found.set(id, { id, lines });
  for (const belief of assessment.tactics) {
    add(tacticClaim(belief.tactic), belief.evidence.map((line) => line.number));
  }
  if (assessment.attacks.length > 1) {
    for (const [index, attack] of assessment.attacks.entries()) add(attackClaim(index), attack.groups);
  }
  const known = lines(assessment);
  for (const host of hosts(assessment.entities)) {
    const names = namesOf(host, assessment.entities);
    add(hostClaim(host), known.filter((line) => names.some((name) => mentions(line.text, name))).map((line) => line.number));
  }
  return found;
}

/** Hosts that are spoken of, each once: those with a probability first. */
export function hosts(entities: Entities | undefined): string[] {
  if (!entities) return [];
  const suspected = [...entities.compromised].sort((a, b) => b.probability - a.probability).map((one) => one.host);
  return [...new Set([...suspected, ...entities.attackers, ...entities.targets, ...entities.systems])];
}

/** The host's address with what it is called beside it. */
export function namesOf(host: string, entities: Entities | undefined): string[] {
  return [host, ...(entities?.names ?? []).filter((one) => one.address === host).map((one) => one.name)];
}

/** `web_shop (172.16.10.11)`, or what there is of it. */
export function hostLabel(host: string, entities: Entities | undefined): string {
  const name = namesOf(host, entities)[1];
  return name ? `${name} (${host})` : host;
}

/** Whether the text names this host, and not one whose name only begins or ends like it. */
export function mentions(text: string, host: string): boolean {
  const lower = text.toLowerCase();
  const wanted = host.toLowerCase();
  if (wanted === '') return false;
  for (let from = lower.indexOf(wanted); from >= 0; from = lower.indexOf(wanted, from + 1)) {
    const before = lower[from - 1] ?? ' ';
    const after = lower.slice(from + wanted.length);
    const inside = /[\w-]/.test(before) || (before === '.' && /\w/.test(lower[from - 2] ?? ' '));
    const goesOn = /^[\w-]/.test(after) || /^\.\w/.test(after);
    if (!inside && !goesOn) return true;
  }
  return false;
}

/** Hosts of the incident that a text names, by address or by name. */
export function named(text: string, entities: Entities | undefined): string[] {
  return hosts(entities).filter((host) => namesOf(host, entities).some((name) => mentions(text, name)));
}

/** Names of the claims that rest on a line. */
export function restingOn(number: number, all: Map<string, Claim>): string[] {
  return [...all.values()].filter((claim) => claim.lines.includes(number)).map((claim) => claim.id);
}

export function claimTitle(id: string): string {
  const [kind, ...rest] = id.split('-');
  if (kind === 'attack') return `Attack ${rest[0]}`;
  return kind === 'tactic' ? tacticName(Number(rest[0])) : rest.join('-');
}

/** `13:10:51 x15 P1 text`, `02:06-02:08 x16 P1 text`, in parts. */
export function parts(text: string): Parts {
  const found = /^(\d{1,2}:\d{2}(?::\d{2})?(?:-\d{1,2}:\d{2}(?::\d{2})?)?)?\s*(?:x([\d,]+)\s+)?(?:P(\d)\s+)?(.*)$/s.exec(text);
  if (!found) return { time: '', times: '', priority: '', text };
  return { time: found[1] ?? '', times: found[2] ?? '', priority: found[3] ?? '', text: found[4] ?? '' };
}
