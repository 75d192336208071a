// Counts by day (UTC), newest first, as a station says them in its health or as this page counted them.
import { type Counts, none, plus } from "./rates.ts";

const DAY_MS = 86_400_000;
/** Days that are compared: the recent ones, and those before them. */
export const DAYS = 28;

/** A day, as `2026-03-01`. */
export type Day = string;

export const dayOf = (ms: number): Day => new Date(ms).toISOString().slice(0, 10);

/** The last `count` days up to that of `now`, newest first. */
export function lastDays(now: number, count = DAYS): Day[] {
  return Array.from({ length: count }, (_, ago) => dayOf(now - ago * DAY_MS));
}

export interface History {
  /** One per day, newest first; `DAYS` of them. */
  days: { day: Day; counts: Counts }[];
  /** Whose they are: the station's own, or what this page saw. */
  source: "station" | "page";
}

export function history(byDay: ReadonlyMap<Day, Counts>, source: History["source"], now: number): History {
  return { source, days: lastDays(now).map((day) => ({ day, counts: byDay.get(day) ?? none() })) };
}

/** The counts of the newest `recent` days, and of those before. */
export function split(past: History, recent: number): { recent: Counts; before: Counts } {
  const sum = (days: History["days"]): Counts => days.reduce((all, { counts }) => plus(all, counts), none());
  return { recent: sum(past.days.slice(0, recent)), before: sum(past.days.slice(recent)) };
}
