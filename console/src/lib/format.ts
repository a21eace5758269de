// Numbers and times as people read them.
import type { Timestamp, Duration } from '@bufbuild/protobuf/wkt';

export function millis(time: Timestamp | undefined): number | undefined {
  return time && Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6);
}

export function seconds(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) + duration.nanos / 1e9 : 0;
}

/** `45 s`, `12 min`, `3 h 05`, `4 d`: the larger the span, the coarser. */
export function span(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 48) return `${h} h ${String(min % 60).padStart(2, '0')}`;
  return `${Math.floor(h / 24)} d`;
}

/** `2026-11-27 03:12:44`, in the reader's zone. */
export function clock(ms: number | undefined): string {
  if (ms === undefined) return '–';
  const d = new Date(ms);
  const two = (n: number) => String(n).padStart(2, '0');
  const date = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${date} ${timeOfDay(ms)}`;
}

/** `03:12:44`, in the reader's zone. */
export function timeOfDay(ms: number | undefined): string {
  if (ms === undefined) return '–';
  const d = new Date(ms);
  return [d.getHours(), d.getMinutes(), d.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

/** `12,345`. */
export function thousands(n: number | bigint): string {
  return n.toString().replace(/\B(?=(\d{3})+$)/g, ',');
}

export function count(n: number | bigint, one: string, many = `${one}s`): string {
  return `${thousands(n)} ${Number(n) === 1 ? one : many}`;
}

/** A share as `97 %`; what is not none and not all is never rounded to it. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return '–';
  const whole = Math.round(share * 100);
  if (whole >= 100 && share < 0.9995) return '>\u00a099\u00a0%';
  if (whole <= 0 && share > 0) return '<\u00a01\u00a0%';
  return `${whole}\u00a0%`;
}

/** A cost with two digits, or a dash. */
export function cost(value: number | undefined): string {
  return value === undefined ? '–' : value.toFixed(2);
}

/** `a, b and c`. */
export function list(items: readonly string[]): string {
  if (items.length < 2) return items.join('');
  return `${items.slice(0, -1).join(', ')} and ${items[items.length - 1]}`;
}

/** Hash digits in groups of four, as they are read out. */
export function grouped(hash: string): string {
  return (hash.match(/.{1,4}/g) ?? []).join(' ');
}
