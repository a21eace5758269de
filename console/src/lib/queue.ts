// The queue: what waits for whom, in which order, and which of it is shown.
import { IncidentStatus, type Incident } from '../gen/countermove/v1/incident_pb';
import { millis } from './format';
import { idOf, priorityWord, tenantOf } from './words';

/** Parts of the queue, in the order in which they stand. */
export const GROUPS = ['decision', 'outcome', 'planning', 'ended'] as const;
export type Group = (typeof GROUPS)[number];

export const GROUP_TITLES: Record<Group, string> = {
  decision: 'Waits for a decision',
  outcome: 'Waits for an outcome',
  planning: 'Being planned',
  ended: 'Ended',
};

export interface Filter {
  groups: Group[];
  urgency: string;
  tenant: string;
  text: string;
}

export function groupOf(incident: Pick<Incident, 'status'>): Group {
  switch (incident.status) {
    case IncidentStatus.AWAITING_APPROVAL:
      return 'decision';
    case IncidentStatus.AWAITING_OUTCOME:
      return 'outcome';
    case IncidentStatus.ENDED:
      return 'ended';
    default:
      return 'planning';
  }
}

/** Whether a person has to do something. */
export function waits(incident: Pick<Incident, 'status'>): boolean {
  const group = groupOf(incident);
  return group === 'decision' || group === 'outcome';
}

/** Since when it waits: for a decision since the step was decided, else since its last event. */
export function since(incident: Incident): number {
  const decided = groupOf(incident) === 'decision' ? millis(incident.pending?.decideTime) : undefined;
  return decided ?? millis(incident.updateTime) ?? millis(incident.createTime) ?? 0;
}

/** What waits stands oldest first; what has ended, newest first. */
export function ordered(incidents: Iterable<Incident>): Incident[] {
  return [...incidents].sort((a, b) => {
    const [x, y] = [groupOf(a), groupOf(b)];
    if (x !== y) return GROUPS.indexOf(x) - GROUPS.indexOf(y);
    const age = x === 'ended' ? since(b) - since(a) : since(a) - since(b);
    return age || (a.name < b.name ? -1 : 1);
  });
}

export function readFilter(query: URLSearchParams): Filter {
  const named = (query.get('state') ?? '').split(',');
  return {
    groups: GROUPS.filter((group) => named.includes(group)),
    urgency: query.get('urgency') ?? '',
    tenant: query.get('tenant') ?? '',
    text: query.get('q') ?? '',
  };
}

export function writeFilter(filter: Filter): URLSearchParams {
  const query = new URLSearchParams();
  if (filter.groups.length > 0) query.set('state', filter.groups.join(','));
  if (filter.urgency) query.set('urgency', filter.urgency);
  if (filter.tenant) query.set('tenant', filter.tenant);
  if (filter.text) query.set('q', filter.text);
  return query;
}

export function passes(incident: Incident, filter: Filter): boolean {
  if (filter.groups.length > 0 && !filter.groups.includes(groupOf(incident))) return false;
  if (filter.urgency && priorityWord(incident.priority) !== filter.urgency) return false;
  if (filter.tenant && tenantOf(incident) !== filter.tenant) return false;
  const wanted = filter.text.trim().toLowerCase();
  return wanted === '' || searched(incident).includes(wanted);
}

function searched(incident: Incident): string {
  const entities = incident.assessment?.entities;
  return [
    idOf(incident.name),
    incident.externalId,
    ...Object.entries(incident.labels).map(([key, value]) => `${key}: ${value}`),
    incident.assessment?.description,
    incident.pending?.action?.text,
    incident.error,
    ...(entities?.attackers ?? []),
    ...(entities?.targets ?? []),
  ]
    .join(' ')
    .toLowerCase();
}

/** The title of the tab: the number of what waits comes first, since tabs are narrow. */
export function title(waiting: number, page: string): string {
  return `${waiting > 0 ? `(${waiting}) ` : ''}${page ? `${page} · ` : ''}Countermove`;
}
