// What enumerations of the API are called on the page.
import {
  DeliveryStatus,
  FindingVerdict,
  IncidentStatus,
  PlanEnd,
  Priority,
  Reversibility,
  Tactic,
  type Incident,
  type RecoveryState,
} from '../gen/countermove/v1/incident_pb';
import { WorkerStatus } from '../gen/countermove/v1/cluster_service_pb';
import { Role, type Grant } from '../gen/countermove/v1/access_service_pb';

export type Fact = Exclude<keyof RecoveryState, '$typeName' | '$unknown'>;

/** The six facts in the order of a response. */
export const FACTS: readonly { key: Fact; name: string; word: string; means: string }[] = [
  { key: 'isAttackContained', name: 'is_attack_contained', word: 'contained', means: 'The attacker cannot extend the attack.' },
  { key: 'isKnowledgeSufficient', name: 'is_knowledge_sufficient', word: 'understood', means: 'What was done, and how, is known well enough to remove it.' },
  { key: 'areForensicsPreserved', name: 'are_forensics_preserved', word: 'preserved', means: 'Evidence that a later investigation needs is kept.' },
  { key: 'isEradicated', name: 'is_eradicated', word: 'eradicated', means: 'Nothing that the attacker left is still there.' },
  { key: 'isHardened', name: 'is_hardened', word: 'hardened', means: 'The way in is closed.' },
  { key: 'isRecovered', name: 'is_recovered', word: 'recovered', means: 'The services are back in operation.' },
];

const TACTICS: Record<number, [name: string, id: string]> = {
  [Tactic.RECONNAISSANCE]: ['Reconnaissance', 'TA0043'],
  [Tactic.RESOURCE_DEVELOPMENT]: ['Resource Development', 'TA0042'],
  [Tactic.INITIAL_ACCESS]: ['Initial Access', 'TA0001'],
  [Tactic.EXECUTION]: ['Execution', 'TA0002'],
  [Tactic.PERSISTENCE]: ['Persistence', 'TA0003'],
  [Tactic.PRIVILEGE_ESCALATION]: ['Privilege Escalation', 'TA0004'],
  [Tactic.STEALTH]: ['Stealth', 'TA0005'],
  [Tactic.CREDENTIAL_ACCESS]: ['Credential Access', 'TA0006'],
  [Tactic.DISCOVERY]: ['Discovery', 'TA0007'],
  [Tactic.LATERAL_MOVEMENT]: ['Lateral Movement', 'TA0008'],
  [Tactic.COLLECTION]: ['Collection', 'TA0009'],
  [Tactic.COMMAND_AND_CONTROL]: ['Command and Control', 'TA0011'],
  [Tactic.EXFILTRATION]: ['Exfiltration', 'TA0010'],
  [Tactic.IMPACT]: ['Impact', 'TA0040'],
  [Tactic.DEFENSE_IMPAIRMENT]: ['Defense Impairment', 'TA0112'],
};

export function tacticName(tactic: Tactic): string {
  return TACTICS[tactic]?.[0] ?? 'a tactic that this page does not know';
}

export function tacticId(tactic: Tactic): string {
  return TACTICS[tactic]?.[1] ?? '';
}

export function priorityWord(priority: Priority): 'urgent' | 'normal' | 'background' {
  if (priority === Priority.URGENT) return 'urgent';
  return priority === Priority.BACKGROUND ? 'background' : 'normal';
}

/** What an incident waits for, or how it ended. */
export function statusWord(incident: Pick<Incident, 'status' | 'plan'>): string {
  switch (incident.status) {
    case IncidentStatus.PLANNING:
      return 'planning';
    case IncidentStatus.AWAITING_APPROVAL:
      return 'waits for a decision';
    case IncidentStatus.AWAITING_OUTCOME:
      return 'waits for an outcome';
    case IncidentStatus.ENDED:
      return endWord(incident.plan?.end ?? PlanEnd.UNSPECIFIED);
    default:
      return 'unknown';
  }
}

export function endWord(end: PlanEnd): string {
  const words: Record<number, string> = {
    [PlanEnd.RECOVERED]: 'recovered',
    [PlanEnd.STEP_LIMIT]: 'step limit',
    [PlanEnd.NO_INCIDENT]: 'no incident',
    [PlanEnd.NO_CANDIDATE]: 'no action found',
    [PlanEnd.CLEARED]: 'all found clean',
    [PlanEnd.DEADLINE]: 'deadline passed',
    [PlanEnd.CANCELLED]: 'cancelled',
    [PlanEnd.FAILED]: 'failed',
    [PlanEnd.NOT_UNDERSTOOD]: 'not understood',
  };
  return words[end] ?? 'ended';
}

/** Why planning ended, in a sentence. */
export function endSentence(end: PlanEnd, steps: number, error: string): string {
  const after = steps === 1 ? '1 step' : `${steps} steps`;
  switch (end) {
    case PlanEnd.RECOVERED:
      return `Recovery is complete after ${after}.`;
    case PlanEnd.STEP_LIMIT:
      return `The limit of ${after} was reached before recovery was complete.`;
    case PlanEnd.NO_INCIDENT:
      return 'The evidence shows no incident, so there is nothing to plan.';
    case PlanEnd.NOT_UNDERSTOOD:
      return 'Nothing in the evidence is in a known form, so nothing was judged or planned.';
    case PlanEnd.NO_CANDIDATE:
      return `${steps > 0 ? `After ${after} no` : 'No'} action could be proposed${error ? `: ${error}` : ''}.`;
    case PlanEnd.CLEARED:
      return `After ${after} nothing is left to recover from: ${error}.`;
    case PlanEnd.DEADLINE:
      return `The deadline passed after ${after}.`;
    case PlanEnd.CANCELLED:
      return `Planning was cancelled after ${after}.`;
    case PlanEnd.FAILED:
      return `Planning failed after ${after}: ${error}`;
    default:
      return 'Planning goes on.';
  }
}

/** How well an action can be taken back: a word, and how. */
export function takenBack(reversibility: Reversibility): { word: string; how: string; grade: 'good' | 'wait' | 'bad' } {
  switch (reversibility) {
    case Reversibility.HARMLESS:
      return { word: 'changes nothing', how: 'It looks or copies; there is nothing to undo.', grade: 'good' };
    case Reversibility.REVERSIBLE:
      return { word: 'can be undone', how: 'Its opposite undoes it: let the traffic or the host through again.', grade: 'good' };
    case Reversibility.LABORIOUS:
      return { word: 'hard to undo', how: 'What was there before does not come back by itself.', grade: 'wait' };
    case Reversibility.IRREVERSIBLE:
      return { word: 'cannot be undone', how: 'Something is lost for good, or nobody can tell what is done.', grade: 'bad' };
    default:
      return { word: 'not known', how: 'Nobody knows whether it can be undone.', grade: 'wait' };
  }
}

/** What was found of somebody. */
export function verdictWord(verdict: FindingVerdict): string {
  if (verdict === FindingVerdict.COMPROMISED) return 'compromised';
  return verdict === FindingVerdict.CLEAN ? 'clean' : 'not told';
}

export function workerWord(status: WorkerStatus): string {
  const words: Record<number, string> = {
    [WorkerStatus.CONNECTING]: 'connecting',
    [WorkerStatus.READY]: 'ready',
    [WorkerStatus.DRAINING]: 'draining',
    [WorkerStatus.LOST]: 'lost',
    [WorkerStatus.REFUSED]: 'refused',
  };
  return words[status] ?? 'unknown';
}

export function deliveryWord(status: DeliveryStatus): string {
  const words: Record<number, string> = {
    [DeliveryStatus.PENDING]: 'on its way to the webhook',
    [DeliveryStatus.TAKEN]: 'taken by the webhook',
    [DeliveryStatus.FAILED]: 'not taken by the webhook',
  };
  return words[status] ?? 'not sent';
}

export function roleWord(role: Role): string {
  return (Role[role] ?? 'unknown').toLowerCase();
}

export function grantWord(grant: Grant): string {
  return `${grant.tenant === '*' ? 'all tenants' : grant.tenant}: ${grant.roles.map(roleWord).join(', ')}`;
}

/** The last part of a resource name. */
export function idOf(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

/** On whose account; incidents of releases without tenants belong to the default one. */
export function tenantOf(incident: Pick<Incident, 'tenant'>): string {
  return incident.tenant || 'default';
}
