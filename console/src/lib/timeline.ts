// An incident's events as a person reads them: rollouts folded, each thing that happened in a sentence.
import type { IncidentEvent } from '../gen/countermove/v1/incident_service_pb';
import { RolloutEnd, type Finding, type RecoveryState } from '../gen/countermove/v1/incident_pb';
import { foundWord } from './findings';
import { count, list, millis, percent } from './format';
import { deliveryWord, endSentence, FACTS, tacticName } from './words';

export type Tone = 'plain' | 'person' | 'wait' | 'bad' | 'good';

export interface Entry {
  /** Number of the first event that it tells of. */
  sequence: number;
  time: number | undefined;
  title: string;
  detail: string;
  tone: Tone;
  /** What is folded into it, a line each. */
  folded: string[];
}

/** Facts that hold, in words. */
export function holding(state: RecoveryState | undefined): string {
  const held = FACTS.filter((fact) => state?.[fact.key]).map((fact) => fact.word);
  return held.length > 0 ? list(held) : 'nothing yet';
}

/** Entries in the order of the events; rollouts of a step are one entry. */
export function timeline(events: readonly IncidentEvent[]): Entry[] {
  const entries: Entry[] = [];
  let rollouts: { step: number; entry: Entry; tallies: Map<number, Tally>; deepest: number } | undefined;
  let decided = 0;
  for (const event of events) {
    if (event.kind.case === 'rollout') {
      const one = event.kind.value;
      if (!rollouts || rollouts.step !== one.step) {
        const entry = blank(event, '', 'plain');
        rollouts = { step: one.step, entry, tallies: new Map(), deepest: 0 };
        entries.push(entry);
      }
      const tally = rollouts.tallies.get(one.candidate) ?? { n: 0, recovered: 0, cut: 0, other: 0, workers: new Set<string>() };
      tally.n += 1;
      if (one.end === RolloutEnd.TERMINAL) tally.recovered += 1;
      else if (one.end === RolloutEnd.TRUNCATED) tally.cut += 1;
      else tally.other += 1;
      if (one.worker) tally.workers.add(one.worker);
      rollouts.tallies.set(one.candidate, tally);
      fold(rollouts.entry, one.step, rollouts.tallies);
      continue;
    }
    // What is proposed or decided anew is simulated anew.
    if (event.kind.case === 'proposed' || event.kind.case === 'decided') rollouts = undefined;
    if (event.kind.case === 'decided') decided += 1;
    const entry = entryOf(event, decided);
    if (entry) entries.push(entry);
  }
  return entries;
}

interface Tally {
  n: number;
  recovered: number;
  cut: number;
  other: number;
  workers: Set<string>;
}

function fold(entry: Entry, step: number, tallies: Map<number, Tally>): void {
  const all = [...tallies.entries()].sort(([a], [b]) => a - b);
  const total = all.reduce((sum, [, tally]) => sum + tally.n, 0);
  entry.title = `${count(total, 'rollout')} of step ${step + 1}`;
  entry.folded = all.map(([candidate, tally]) => {
    const parts = [`${tally.recovered} recovered`];
    if (tally.cut > 0) parts.push(`${tally.cut} cut off`);
    if (tally.other > 0) parts.push(`${tally.other} without a result`);
    return `Candidate ${candidate + 1}: ${count(tally.n, 'rollout')}, ${parts.join(', ')}; on ${list([...tally.workers].sort())}`;
  });
}

function blank(event: IncidentEvent, title: string, tone: Tone, detail = ''): Entry {
  return { sequence: Number(event.sequence), time: millis(event.time), title, detail, tone, folded: [] };
}

function entryOf(event: IncidentEvent, decided: number): Entry | undefined {
  const { kind } = event;
  switch (kind.case) {
    case 'created':
      return blank(event, 'Incident created', 'plain', [by(kind.value.creator), records(kind.value.digest?.records)].filter(Boolean).join(' '));
    case 'assessed':
      return blank(event, kind.value.isIncident ? 'Evidence assessed: this is an incident' : 'Evidence assessed: no incident', 'plain', kind.value.description);
    case 'proposed': {
      const { step, candidates, rejected } = kind.value;
      const entry = blank(event, `${count(candidates.length, 'action')} proposed for step ${step + 1}`, 'plain', rejected.length > 0 ? `${rejected.length} thrown away.` : '');
      entry.folded = [
        ...candidates.map((one) => one.action?.text ?? ''),
        ...rejected.map((one) => `Thrown away: ${one.action?.text ?? ''}: ${one.reason}`),
      ];
      return entry;
    }
    case 'decided': {
      const step = kind.value;
      const action = step.candidates.find((one) => one.index === step.chosen)?.action?.text ?? '';
      return blank(event, `Step ${step.index + 1} decided`, 'wait', action);
    }
    case 'approved':
      return kind.value.isAutomatic
        ? blank(event, `Step ${kind.value.step + 1} approved by the incident's autonomy`, 'person')
        : blank(event, `Step ${kind.value.step + 1} approved`, 'person', by(kind.value.approver) || 'Nobody was named.');
    case 'approval':
      return blank(event, `Step ${kind.value.step + 1} approved by one of several`, 'person', `${by(kind.value.approver)} Others have to approve as well.`);
    case 'rejected':
      return blank(event, `Step ${kind.value.step + 1} rejected`, 'person', [by(kind.value.rejectedBy), found(kind.value.findings), kind.value.reason].filter(Boolean).join(' '));
    case 'outcome': {
      const title = kind.value.carriedOut === false ? `Step ${kind.value.step + 1} could not be carried out` : `Outcome of step ${kind.value.step + 1} reported`;
      return blank(event, title, 'person', [`Holds now: ${holding(kind.value.state)}.`, found(kind.value.findings)].filter(Boolean).join(' '));
    }
    case 'alerts':
      return blank(event, 'Alerts added', 'plain', `${records(kind.value.digest?.records)} ${kind.value.repeatedRecords > 0n ? `${count(kind.value.repeatedRecords, 'record')} known already.` : ''}`.trim());
    case 'revised': {
      const names = (kind.value.assessment?.tactics ?? []).map((one) => `${tacticName(one.tactic)} ${percent(one.weight)}`);
      return blank(event, 'Conjecture revised', 'wait', `${kind.value.reason} Now: ${list(names) || 'no tactic'}.`);
    }
    case 'fellBack':
      return blank(event, 'The state fell back', 'bad', kind.value.reason);
    case 'delivery':
      return blank(event, `Action of step ${kind.value.step + 1} ${deliveryWord(kind.value.status)}`, 'plain', kind.value.problem);
    case 'notice':
      return blank(event, 'Notice', 'plain', kind.value.text);
    case 'ended':
      return blank(event, 'Planning ended', 'good', endSentence(kind.value.end, decided, kind.value.error));
    default:
      return undefined;
  }
}

function by(who: string): string {
  return who ? `By ${who}.` : '';
}

function found(findings: readonly Finding[]): string {
  return findings.length > 0 ? `Found: ${foundWord(findings)}.` : '';
}

function records(n: bigint | undefined): string {
  return n === undefined ? '' : `${count(n, 'record')} in all.`;
}
