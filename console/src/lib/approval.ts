// What an approval is bound to. An approval names what was seen: it is for one hash, and for nothing that came later.
import { IncidentStatus, type Approval, type Candidate, type Incident, type PlanStep } from '../gen/countermove/v1/incident_pb';
import { list } from './format';

/** Digits of the hash that are asked for. */
export const DIGITS = 4;

export interface Bound {
  incident: string;
  step: number;
  hash: string;
}

/** What is approved is one candidate of a step; each has a hash of its own, and the chosen one that of the step. */
export function bind(incident: Incident, step: PlanStep, candidate: number): Bound {
  return { incident: incident.name, step: step.index, hash: hashOf(step, candidate) };
}

function hashOf(step: PlanStep, candidate: number): string {
  if (candidate === step.chosen) return step.planHash;
  return step.candidates.find((one) => one.index === candidate)?.planHash ?? '';
}

/** How many people have approved a candidate that several have to approve, and who; empty: one is enough. */
export function approvalsWord(candidate: Candidate | undefined, given: readonly Approval[]): string {
  if (!candidate || candidate.approvers < 2) return '';
  const names = given.filter((one) => one.planHash === candidate.planHash).map((one) => one.approver);
  return `${names.length} of ${candidate.approvers} approvals${names.length > 0 ? `, by ${list(names)}` : ''}`;
}

/** Why the approval can no longer be given, in one sentence; empty: it can. */
export function stale(bound: Bound, incident: Incident | undefined): string {
  if (incident?.name !== bound.incident) return 'The incident is not on the page any more.';
  if (incident.status !== IncidentStatus.AWAITING_APPROVAL) {
    return incident.status === IncidentStatus.AWAITING_OUTCOME
      ? 'Somebody approved this step meanwhile.'
      : 'The step does not wait for a decision any more.';
  }
  const step = incident.plan?.steps.at(-1);
  const known = step ? [step.planHash, ...step.candidates.map((one) => one.planHash)] : [];
  if (step?.index !== bound.step || !known.includes(bound.hash)) return 'The step was decided anew since you opened this.';
  return '';
}

/** Whether these are the first digits of the hash. */
export function confirms(typed: string, hash: string): boolean {
  const digits = typed.replace(/\s/g, '').toLowerCase();
  return digits.length === DIGITS && hash.length > DIGITS && hash.toLowerCase().startsWith(digits);
}
