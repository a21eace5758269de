// All incidents that the caller may see: what has not ended as a stream, what has ended as a list.
import { SvelteMap } from 'svelte/reactivity';
import { incidents as api } from '../api/client';
import { sentence } from '../api/errors';
import { follow } from '../api/resume';
import { IncidentStatus, type Incident } from '../gen/countermove/v1/incident_pb';
import { groupOf, ordered, waits } from '../lib/queue';
import { tenantOf } from '../lib/words';
import { announcer } from './announce.svelte';
import { line } from './line.svelte';
import { session } from './session.svelte';

/** After this long without a sign of life, in ms, the stream counts as gone. */
const SILENCE = 40_000;
const PAGE = 50;

class Queue {
  readonly all = new SvelteMap<string, Incident>();
  /** Whether all that is there was told once. */
  present = $state(false);
  problem = $state('');
  /** More incidents that have ended can be had. */
  more = $state('');
  private stop: AbortController | undefined;
  private told = new Set<string>();

  get ordered(): Incident[] {
    return ordered(this.all.values());
  }

  /** What waits for the one who sits here: decisions for approvers, outcomes for responders as well. */
  get waiting(): Incident[] {
    return this.ordered.filter(isMine);
  }

  start(): void {
    this.stop?.abort();
    const stop = new AbortController();
    this.stop = stop;
    this.all.clear();
    this.present = false;
    this.problem = '';
    void this.loadEnded();
    follow({
      open: (signal) => this.open(signal),
      take: (message) => this.take(message.update),
      ended: () => true,
      line,
      signal: stop.signal,
    }).catch((error) => (this.problem = sentence(error)));
  }

  end(): void {
    this.stop?.abort();
    this.all.clear();
    this.present = false;
  }

  /** Takes what a call answered, without waiting for the stream. */
  put(incident: Incident | undefined): void {
    if (!incident) return;
    const known = this.all.get(incident.name);
    if (!known || known.lastSequence <= incident.lastSequence) this.all.set(incident.name, incident);
  }

  async loadEnded(): Promise<void> {
    try {
      // With a filter a page may be short or empty and more pages follow.
      let found = 0;
      do {
        const page = await api.listIncidents({ pageSize: PAGE, pageToken: this.more, filter: { statuses: [IncidentStatus.ENDED] } });
        for (const incident of page.incidents) this.put(incident);
        found += page.incidents.length;
        this.more = page.nextPageToken;
      } while (this.more && found < PAGE);
    } catch (error) {
      this.problem = sentence(error);
    }
  }

  /** The stream, given up after too long a silence. */
  private async *open(signal: AbortSignal) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE);
    this.told = new Set();
    try {
      for await (const message of api.watchIncidents({}, { signal: AbortSignal.any([signal, silence.signal]), timeoutMs: 0 })) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE);
        yield message;
      }
    } catch (error) {
      if (!silence.signal.aborted || signal.aborted) throw error;
      line.cut();
      throw new TypeError('Nothing was heard of the coordinator for 40 s.', { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  private take(update: { case: 'incident' | 'left'; value: Incident } | { case: 'present' } | { case: undefined }): void {
    if (update.case === 'incident' || update.case === 'left') {
      const before = this.all.get(update.value.name);
      this.told.add(update.value.name);
      this.put(update.value);
      if (this.present && isMine(update.value) && !(before && isMine(before))) {
        announcer.say(`An incident waits for you: ${update.value.assessment?.description ?? update.value.name}`);
      }
    } else if (update.case === 'present') {
      this.forget();
      this.present = true;
    }
  }

  /** What was not told again after a break is gone, unless it has ended. */
  private forget(): void {
    for (const [name, incident] of this.all) {
      if (incident.status !== IncidentStatus.ENDED && !this.told.has(name)) this.all.delete(name);
    }
  }
}

export function isMine(incident: Incident): boolean {
  return waits(incident) && session.may(groupOf(incident) === 'decision' ? 'approve' : 'act', tenantOf(incident));
}

export const queue = new Queue();
