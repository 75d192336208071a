// Numbers, times and names in the page's words.
import type { Verdict } from "../fleet/study.ts";
import type { Range } from "../fleet/ranges.ts";
import { WORDS } from "../words.ts";

/** Puts values into a text's `{name}`s. */
export function put(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** Orders names as people do, `moshi-2` before `moshi-10`. */
export const byText = new Intl.Collator(WORDS.lang, { numeric: true }).compare;

const whole = new Intl.NumberFormat(WORDS.lang);
export const number = (count: number): string => whole.format(count);

export const percent = (share: number, digits = 0): string => `${(share * 100).toFixed(digits)} %`;

export function bytes(count: number): string {
  const gb = count / 1e9;
  if (gb < 1) return put(WORDS.units.mb, { count: Math.round(count / 1e6) });
  return put(WORDS.units.gb, { count: gb < 10 ? gb.toFixed(1) : Math.round(gb) });
}

export const degrees = (celsius: number): string => put(WORDS.units.degrees, { count: Math.round(celsius) });

export const milliseconds = (ms: number): string => put(WORDS.units.ms, { count: ms.toFixed(1) });

export function age(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  const [unit, count] =
    s < 100 ? (["seconds", s] as const)
    : s < 6_000 ? (["minutes", s / 60] as const)
    : s < 172_800 ? (["hours", s / 3_600] as const)
    : (["days", s / 86_400] as const);
  return put(WORDS.units[unit], { count: Math.round(count) });
}

export const ago = (then: number, now: number): string => (now - then < 2_000 ? WORDS.units.now : put(WORDS.units.ago, { age: age(now - then) }));

const clock = new Intl.DateTimeFormat(WORDS.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const two = (count: number): string => String(count).padStart(2, "0");

/** The time of day; with the date unless it is that of `now`. */
export function when(then: number | null, now: number): string {
  if (then === null) return WORDS.units.none;
  const date = new Date(then);
  const time = clock.format(date);
  if (date.toDateString() === new Date(now).toDateString()) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time.slice(0, 5)}`;
}

const spaced = (name: string): string => name.replaceAll("_", " ").toLowerCase();

export function part(type: string | null): string {
  if (type === null) return WORDS.type_unknown;
  const name = spaced(type.replace(/^XR_/, ""));
  return WORDS.types[type] ?? name.charAt(0).toUpperCase() + name.slice(1);
}

export const answer = (verdict: Verdict): string => WORDS.answers[verdict];

/** A reason from a code list that may be longer than this page knows. */
export const reason = (name: string): string => WORDS.reasons[name] ?? spaced(name);

const RANGES_SHOWN = 6;

export function ranges(list: readonly Range[]): string {
  const shown = list.slice(0, RANGES_SHOWN).map(([a, b]) => (a === b ? `${a}` : `${a}\u2013${b}`)).join(", ");
  return list.length > RANGES_SHOWN ? put(WORDS.gaps.more, { ranges: shown, count: list.length - RANGES_SHOWN }) : shown;
}
