// What people found out about hosts, accounts and addresses, as they say it beside an outcome or a rejection.
import { FindingVerdict, type Entities, type Finding, type PlanStep } from '../gen/countermove/v1/incident_pb';
import { hostLabel, hosts, mentions, named } from './evidence';
import { chosen } from './history';
import { probabilities } from './network';
import { verdictWord } from './words';

/** Names that are offered at most: as many as one report may hold. */
const MOST = 64;
/** Names that complete what is typed at most. */
const MOST_COMPLETED = 200;

/** Somebody of whom it can be said what was found. */
export interface Row {
  /** As the coordinator is told it. */
  name: string;
  /** As it stands on the page; empty: the name is typed. */
  label: string;
  /** How likely it is compromised; undefined if nothing is said. */
  probability: number | undefined;
  verdict: FindingVerdict;
}

/** Whom the step's action names, then who is suspected, the likeliest first. Of nobody anything is told yet. */
export function offered(step: PlanStep, entities: Entities | undefined): Row[] {
  const candidate = chosen(step);
  const text = candidate?.action?.text ?? '';
  const held = (step.index > 0 && step.belief ? step.belief.heldAccounts : entities?.heldAccounts) ?? [];
  const chances = new Map([...probabilities(entities, step.belief?.compromised), ...held.map((one) => [one.account, one.probability] as const)]);
  const likely = [...chances].filter(([, probability]) => probability >= 0.005).sort((a, b) => b[1] - a[1]);
  const known = [...accounts(entities), ...(entities?.contacts ?? [])].filter((name) => mentions(text, name));
  const names = new Set([...(candidate?.takesDown ?? []), ...named(text, entities), ...known, ...likely.map(([name]) => name)]);
  return [...names].slice(0, MOST).map((name) => ({ name, label: hostLabel(name, entities), probability: chances.get(name), verdict: FindingVerdict.UNSPECIFIED }));
}

/** Somebody whose name is typed. */
export function typed(): Row {
  return { name: '', label: '', probability: undefined, verdict: FindingVerdict.UNSPECIFIED };
}

/** Names that the evidence or the system description has and that are not offered. */
export function completions(entities: Entities | undefined, rows: readonly Row[]): string[] {
  const shown = new Set(rows.map((row) => row.name));
  const all = new Set([...accounts(entities), ...(entities?.contacts ?? []), ...hosts(entities)]);
  return [...all].filter((name) => !shown.has(name)).slice(0, MOST_COMPLETED);
}

function accounts(entities: Entities | undefined): string[] {
  return entities ? [...entities.stolenAccounts, ...entities.plantedAccounts, ...entities.seenAccounts] : [];
}

/** What is sent: each name of which something is told, once. With a problem, in one sentence, nothing is. */
export function toSend(rows: readonly Row[], entities: Entities | undefined): { findings: Pick<Finding, 'name' | 'verdict'>[]; problem: string } {
  const found = new Map<string, Pick<Finding, 'name' | 'verdict'>>();
  const refused = (problem: string) => ({ findings: [], problem });
  for (const row of rows) {
    const name = row.name.trim();
    const isTold = row.verdict !== FindingVerdict.UNSPECIFIED;
    // Whoever types a name means to say something of it; names that are offered stand there unasked.
    if (name !== '' && !isTold && row.label === '') return refused(`Say what was found of "${name}", or take the name out.`);
    if (name === '' && isTold) return refused(`Say who was found ${verdictWord(row.verdict)}.`);
    if (!isTold) continue;
    const key = entities?.names.find((one) => one.name === name.toLowerCase())?.address ?? name;
    const other = found.get(key);
    if (other && other.verdict !== row.verdict) return refused(`"${name}" is told twice: ${verdictWord(other.verdict)} and ${verdictWord(row.verdict)}.`);
    if (!other) found.set(key, { name, verdict: row.verdict });
  }
  return { findings: [...found.values()], problem: '' };
}

/** `10.0.2.14 clean, web01 compromised`; empty: nothing was told. */
export function foundWord(findings: readonly Pick<Finding, 'name' | 'verdict'>[], entities?: Entities): string {
  return findings.map(({ name, verdict }) => `${hostLabel(name, entities)} ${verdictWord(verdict)}`).join(', ');
}
