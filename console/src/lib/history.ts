// What an incident's events tell beside its present state: where facts come from, how beliefs moved, who decided what.
import type { IncidentEvent } from '../gen/countermove/v1/incident_service_pb';
import type { AlertComparison, Finding, PlanStep, RecoveryState, TacticBelief } from '../gen/countermove/v1/incident_pb';
import { PlanMode, StateSource, type Incident } from '../gen/countermove/v1/incident_pb';
import { millis } from './format';
import { FACTS, type Fact } from './words';

export type Source = 'reported' | 'predicted' | 'seen';

export interface FactState {
  key: Fact;
  word: string;
  means: string;
  holds: boolean;
  /** Where that it holds, or does not, comes from: an outcome, the model's prediction, or the evidence. */
  source: Source;
  /** The step after which it came to be so, from 1; 0: before the first. */
  step: number;
  /** The action that waits or is carried out is predicted to bring it about. */
  expected: boolean;
}

export function chosen(step: PlanStep | undefined) {
  return step?.candidates.find((one) => one.index === step.chosen);
}

/** The six facts now. What an outcome said is reported, what offline plans assume is predicted. */
export function facts(incident: Incident): FactState[] {
  const steps = incident.plan?.steps ?? [];
  const current = open(incident);
  return FACTS.map(({ key, word, means }) => {
    const holds = incident.state?.[key] ?? false;
    let source: Source = 'seen';
    let step = 0;
    let before: RecoveryState | undefined = steps[0]?.stateBefore;
    for (const one of steps) {
      if (one.stateAfterSource === StateSource.UNSPECIFIED || !one.stateAfter) continue;
      const changed = (before?.[key] ?? false) !== one.stateAfter[key];
      if (changed || one.stateAfterSource === StateSource.REPORTED) {
        source = one.stateAfterSource === StateSource.REPORTED ? 'reported' : 'predicted';
        if (changed) step = one.index + 1;
      }
      before = one.stateAfter;
    }
    // The last report may be overtaken by what was seen since.
    if (before && before[key] !== holds) {
      source = 'seen';
      step = 0;
    }
    const expected = !holds && (chosen(current)?.predictedState?.[key] ?? false);
    return { key, word, means, holds, source, step, expected };
  });
}

/** The step that waits for a decision or for its outcome. */
export function open(incident: Incident): PlanStep | undefined {
  const last = incident.plan?.steps.at(-1);
  if (!last || incident.options?.mode !== PlanMode.INTERACTIVE) return undefined;
  return last.stateAfterSource === StateSource.UNSPECIFIED ? last : undefined;
}

export interface Reading {
  /** Number of the event. */
  sequence: number;
  time: number | undefined;
  title: string;
  tactics: TacticBelief[];
}

/** How the belief over tactics moved: after the evidence, and after each revision. */
export function readings(events: readonly IncidentEvent[]): Reading[] {
  const found: Reading[] = [];
  for (const { kind, sequence, time } of events) {
    const one = { sequence: Number(sequence), time: millis(time) };
    if (kind.case === 'assessed') found.push({ ...one, title: 'first reading', tactics: kind.value.tactics });
    if (kind.case === 'revised') {
      found.push({ ...one, title: `before step ${kind.value.step + 1}`, tactics: kind.value.assessment?.tactics ?? [] });
    }
  }
  return found;
}

export interface Decision {
  step: number;
  action: string;
  hash: string;
  decided: number | undefined;
  what: 'approved' | 'rejected' | 'withdrawn' | 'open';
  /** Another candidate than the planner chose was approved. */
  isOtherChoice: boolean;
  who: string;
  when: number | undefined;
  reason: string;
  outcome: RecoveryState | undefined;
  reported: number | undefined;
  predicted: RecoveryState | undefined;
  comparison: AlertComparison | undefined;
  /** What was found out, told with the rejection or the outcome. */
  findings: Finding[];
}

/** Each step that was put to somebody, those that were rejected or withdrawn as well. */
export function decisions(events: readonly IncidentEvent[]): Decision[] {
  const all: Decision[] = [];
  let step: PlanStep | undefined;
  const last = (step: number) => all.findLast((one) => one.step === step);
  for (const { kind, time } of events) {
    const when = millis(time);
    switch (kind.case) {
      case 'decided':
        step = kind.value;
        all.push({
          step: kind.value.index,
          action: chosen(kind.value)?.action?.text ?? '',
          hash: kind.value.planHash,
          decided: when,
          what: 'open',
          isOtherChoice: false,
          who: '',
          when: undefined,
          reason: '',
          outcome: undefined,
          reported: undefined,
          predicted: chosen(kind.value)?.predictedState,
          comparison: undefined,
          findings: [],
        });
        break;
      case 'approved': {
        const who = kind.value.isAutomatic ? "the incident's autonomy" : kind.value.approver;
        const decision = last(kind.value.step);
        settle(decision, { what: 'approved', who, when });
        const other = step?.candidates.find((one) => one.index === kind.value.chosen);
        if (kind.value.chosen !== undefined && other && step?.index === kind.value.step) {
          settle(decision, {
            isOtherChoice: true,
            action: other.action?.text ?? '',
            hash: other.planHash,
            predicted: other.predictedState,
          });
        }
        break;
      }
      case 'rejected':
        settle(last(kind.value.step), { what: 'rejected', who: kind.value.rejectedBy, when, reason: kind.value.reason, findings: kind.value.findings });
        break;
      case 'fellBack':
        if (kind.value.withdrawnStep !== undefined) {
          settle(last(kind.value.withdrawnStep), { what: 'withdrawn', when, reason: kind.value.reason });
        }
        break;
      case 'outcome':
        settle(last(kind.value.step), { outcome: kind.value.state, reported: when, comparison: kind.value.comparison, findings: kind.value.findings });
        break;
    }
  }
  return all;
}

function settle(decision: Decision | undefined, change: Partial<Decision>): void {
  if (decision) Object.assign(decision, change);
}

export interface Difference {
  word: string;
  predicted: boolean;
  reported: boolean;
}

/** Facts in which an outcome differs from the prediction. */
export function differences(predicted: RecoveryState | undefined, reported: Partial<Record<Fact, boolean>>): Difference[] {
  return FACTS.map(({ key, word }) => ({ word, predicted: predicted?.[key] ?? false, reported: reported[key] ?? false })).filter(
    (one) => one.predicted !== one.reported,
  );
}

export interface KindRow {
  classification: string;
  priority: number | undefined;
  predicted: boolean;
  observed: boolean;
}

/** Predicted and observed kinds of alerts in one list: those that came as predicted first. */
export function kinds(comparison: Pick<AlertComparison, 'predicted' | 'observed'>): KindRow[] {
  const rows = new Map<string, KindRow>();
  for (const [side, all] of [['predicted', comparison.predicted], ['observed', comparison.observed]] as const) {
    for (const { classification, priority } of all) {
      const key = `${priority ?? ''}/${classification}`;
      const row = rows.get(key) ?? { classification, priority, predicted: false, observed: false };
      row[side] = true;
      rows.set(key, row);
    }
  }
  const rank = (row: KindRow) => (row.predicted && row.observed ? 0 : row.predicted ? 1 : 2);
  return [...rows.values()].sort((a, b) => rank(a) - rank(b));
}
