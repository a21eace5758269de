// The network's picture: hosts by network, what went between them by the evidence, and how likely each is compromised.
//
// Networks are told by addresses (the first three numbers, or the first four groups of IPv6), because an incident carries no map.
import type { Entities, EvidenceLine, Suspect } from '../gen/countermove/v1/incident_pb';

export interface Host {
  address: string;
  name: string;
  /** How likely it is compromised; undefined if nothing is said. */
  probability: number | undefined;
  isAttacker: boolean;
  isTarget: boolean;
  x: number;
  y: number;
}

export interface Zone {
  title: string;
  hosts: Host[];
  /** Hosts of it that are not drawn. */
  more: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Edge {
  from: Host;
  to: Host;
  /** Numbers of the evidence lines that tell of it. */
  lines: number[];
  path: string;
}

export interface Picture {
  zones: Zone[];
  edges: Edge[];
  width: number;
  height: number;
}

const ROW = 46;
const COLUMN = 216;
const BOX = 170;
const GAP = 14;
/** Columns of networks beside what is outside; further networks stand under the last. */
const MOST_COLUMNS = 2;
const HEAD = 34;
const MOST_ROWS = 7;
/** Hosts that are less likely compromised, play no part and were not heard of are counted and not drawn. */
const TELLING = 0.02;
export const OUTSIDE = 'Outside';

/** Probability by host: of a step's belief where there is one, else of the assessment. */
export function probabilities(entities: Entities | undefined, belief: readonly Suspect[] | undefined): Map<string, number> {
  const all = new Map((entities?.compromised ?? []).map((one) => [one.host, one.probability]));
  for (const one of belief ?? []) all.set(one.host, one.probability);
  return all;
}

export function networkOf(address: string): string {
  const four = /^(\d+\.\d+\.\d+)\.\d+$/.exec(address);
  if (four) return `${four[1]}.0/24`;
  if (/^[0-9a-f:]+$/i.test(address) && address.includes(':')) return `${address.split(':').slice(0, 4).filter(Boolean).join(':')}::/64`;
  return 'No address';
}

/** Places hosts and what went between them. */
export function picture(entities: Entities, suspects: Map<string, number>, evidence: readonly EvidenceLine[]): Picture {
  const flows = evidence.map((line) => ({ line: line.number, ...ends(line.text) }));
  const talks = new Set(flows.flatMap((flow) => [...flow.from, ...flow.to]));
  const system = new Set([...entities.systems, ...entities.targets, ...suspects.keys()]);
  const all = [...new Set([...entities.attackers, ...system])];
  const hosts = all.map((address): Host => ({
    address,
    name: entities.names.find((one) => one.address === address)?.name ?? '',
    probability: suspects.get(address),
    isAttacker: entities.attackers.includes(address),
    isTarget: entities.targets.includes(address),
    x: 0,
    y: 0,
  }));
  const rank = (host: Host) => (host.probability ?? 0) + (host.isAttacker ? 2 : 0) + (host.isTarget ? 1 : 0) + (talks.has(host.address) ? 0.5 : 0);
  const groups = new Map<string, Host[]>();
  for (const host of hosts) {
    const title = system.has(host.address) ? networkOf(host.address) : OUTSIDE;
    groups.set(title, [...(groups.get(title) ?? []), host]);
  }
  const heat = (hosts: Host[]) => Math.max(...hosts.map(rank));
  const titles = [...groups.keys()].sort((a, b) => {
    if (a === OUTSIDE || b === OUTSIDE) return a === OUTSIDE ? -1 : 1;
    return heat(groups.get(b) ?? []) - heat(groups.get(a) ?? []) || a.localeCompare(b, 'en', { numeric: true });
  });
  const zones = titles.map((title) => zone(title, groups.get(title) ?? [], rank));
  const { columns, height } = arrange(zones);
  const drawn = new Map(zones.flatMap((one) => one.hosts.map((host) => [host.address, host] as const)));
  return { zones, edges: edges(flows, drawn), width: columns * COLUMN - (COLUMN - BOX), height };
}

/** Puts networks into columns: what is outside, the hottest network, and the others one under the other. */
function arrange(zones: Zone[]): { columns: number; height: number } {
  const outside = zones.filter((one) => one.title === OUTSIDE);
  const inside = zones.filter((one) => one.title !== OUTSIDE);
  const columns = [outside, ...inside.slice(0, MOST_COLUMNS - 1).map((one) => [one]), inside.slice(MOST_COLUMNS - 1)].filter((column) => column.length > 0);
  const tall = (column: Zone[]) => column.reduce((sum, one) => sum + one.height + GAP, -GAP);
  const height = Math.max(HEAD, ...columns.map(tall));
  columns.forEach((column, at) => {
    let y = (height - tall(column)) / 2;
    for (const one of column) {
      move(one, at * COLUMN, y);
      y += one.height + GAP;
    }
  });
  return { columns: Math.max(1, columns.length), height };
}

function move(zone: Zone, x: number, y: number): void {
  zone.x = x;
  zone.y = y;
  zone.hosts.forEach((host, row) => {
    host.x = x + 24;
    host.y = y + HEAD + row * ROW + ROW / 2;
  });
}

function zone(title: string, hosts: Host[], rank: (host: Host) => number): Zone {
  const sorted = [...hosts].sort((a, b) => rank(b) - rank(a) || a.address.localeCompare(b.address, 'en', { numeric: true }));
  // A host that nothing is known of tells less than the room it takes.
  const telling = sorted.filter((host) => rank(host) >= TELLING);
  const shown = (telling.length > 0 ? telling : sorted.slice(0, 1)).slice(0, MOST_ROWS);
  const more = hosts.length - shown.length;
  return { title, hosts: shown, more, x: 0, y: 0, width: BOX, height: HEAD + shown.length * ROW + (more > 0 ? 24 : 8) };
}

function edges(flows: { line: number; from: string[]; to: string[] }[], hosts: Map<string, Host>): Edge[] {
  const found = new Map<string, Edge>();
  for (const flow of flows) {
    for (const source of flow.from) {
      for (const target of flow.to) {
        const [from, to] = [hosts.get(source), hosts.get(target)];
        if (!from || !to || from === to) continue;
        const key = `${source}>${target}`;
        const edge = found.get(key);
        if (edge) edge.lines.push(flow.line);
        else found.set(key, { from, to, lines: [flow.line], path: curve(from, to) });
      }
    }
  }
  return [...found.values()];
}

/** From the side of one host to that of the other; within a network around its left edge. */
function curve(from: Host, to: Host): string {
  if (Math.abs(from.x - to.x) < 1) {
    const out = from.x - 26 - Math.min(18, Math.abs(from.y - to.y) / 8);
    return `M${from.x - 10},${from.y} C${out},${from.y} ${out},${to.y} ${to.x - 11},${to.y}`;
  }
  const right = to.x > from.x;
  const start = right ? from.x + BOX - 34 : from.x - 10;
  const end = right ? to.x - 11 : to.x + BOX - 33;
  const bend = (end - start) * 0.5;
  return `M${start},${from.y} C${start + bend},${from.y} ${end - bend},${to.y} ${end},${to.y}`;
}

/** Who speaks to whom in a folded line: `… TCP 10.0.1.11, 10.0.1.12 -> 10.0.2.14:22`. */
export function ends(text: string): { from: string[]; to: string[] } {
  const arrow = text.indexOf(' -> ');
  if (arrow < 0) return { from: [], to: [] };
  const before = /(?:[^\s,]+, )*[^\s,]+$/.exec(text.slice(0, arrow));
  const after = /^(?:[^\s,]+, )*[^\s,]+/.exec(text.slice(arrow + 4));
  return { from: names(before?.[0]), to: names(after?.[0]) };
}

function names(list: string | undefined): string[] {
  return (list ?? '').split(', ').map(withoutPort).filter((name) => name !== '');
}

function withoutPort(end: string): string {
  const bracketed = /^\[([0-9a-f:.]+)\](?::\d+)?$/i.exec(end);
  if (bracketed) return bracketed[1] ?? '';
  return end.split(':').length === 2 ? end.slice(0, end.indexOf(':')) : end;
}
