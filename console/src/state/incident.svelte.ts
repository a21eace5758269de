// One incident that somebody looks at: its state from GetIncident, its events and signs of life from WatchIncident.
import { incidents as api } from '../api/client';
import { passes, sentence } from '../api/errors';
import { follow } from '../api/resume';
import type { Incident, Progress } from '../gen/countermove/v1/incident_pb';
import type { IncidentEvent } from '../gen/countermove/v1/incident_service_pb';
import { announcer } from './announce.svelte';
import { line } from './line.svelte';
import { queue } from './queue.svelte';

/** Events that change more than the timeline. */
const CHANGES = new Set(['assessed', 'decided', 'approved', 'rejected', 'outcome', 'alerts', 'ended', 'revised', 'fellBack', 'delivery']);
/** Many events come at once when one begins to watch; what they led to is asked for once, after this many ms. */
const SETTLE = 120;

export class Watched {
  incident = $state.raw<Incident>();
  events = $state.raw<IncidentEvent[]>([]);
  progress = $state.raw<Progress>();
  problem = $state('');
  private readonly stop = new AbortController();
  private pending: IncidentEvent[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private stale = false;
  private after = 0n;

  constructor(readonly name: string) {
    void this.load();
    follow({
      open: (signal) => api.watchIncident({ name, resumeAfter: this.after }, { signal: AbortSignal.any([signal, line.unbroken]), timeoutMs: 0 }),
      take: ({ update }) => {
        if (update.case === 'event') this.take(update.value);
        else if (update.case === 'progress') this.progress = update.value;
      },
      line,
      signal: this.stop.signal,
    }).catch((error) => (this.problem = sentence(error)));
  }

  close(): void {
    this.stop.abort();
    clearTimeout(this.timer);
  }

  /** Takes what a call answered. */
  put(incident: Incident | undefined): void {
    if (!incident || (this.incident && this.incident.lastSequence > incident.lastSequence)) return;
    this.incident = incident;
    queue.put(incident);
  }

  private take(event: IncidentEvent): void {
    // What was seen before the line broke is not taken twice.
    if (event.sequence <= this.after) return;
    this.after = event.sequence;
    this.pending.push(event);
    const kind = event.kind.case ?? '';
    if (CHANGES.has(kind)) this.stale = true;
    if (this.incident && event.sequence > this.incident.lastSequence) this.tell(event);
    this.timer ??= setTimeout(() => this.settle(), SETTLE);
  }

  private settle(): void {
    this.timer = undefined;
    this.events = [...this.events, ...this.pending];
    this.pending = [];
    if (this.stale) {
      this.stale = false;
      if ((this.incident?.lastSequence ?? 0n) < this.after) void this.load();
    }
  }

  private async load(): Promise<void> {
    for (let pause = 500; !this.stop.signal.aborted; pause = Math.min(2 * pause, 15_000)) {
      try {
        const { incident } = await api.getIncident({ name: this.name }, { signal: this.stop.signal });
        this.put(incident);
        this.problem = '';
        return;
      } catch (error) {
        if (this.stop.signal.aborted) return;
        if (!passes(error)) {
          this.problem = sentence(error);
          return;
        }
        line.down(error, pause);
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  private tell(event: IncidentEvent): void {
    if (event.kind.case === 'decided') announcer.say(`Step ${event.kind.value.index + 1} was decided and waits.`);
    if (event.kind.case === 'fellBack') announcer.say(`The state fell back: ${event.kind.value.reason}`);
    if (event.kind.case === 'ended') announcer.say('Planning has ended.');
  }
}
