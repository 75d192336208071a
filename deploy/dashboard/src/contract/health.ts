// Fields of health that not every station of `v1` sends.
import type { Day } from "../fleet/days.ts";
import { type Counts, plus, none } from "../fleet/rates.ts";
import type { StationHealth } from "../generated/payloads.ts";

/** The number up to which the broker has acknowledged every result; null when the station does not say. */
export function ackedThrough({ seq_acked_through }: StationHealth): number | null {
  return Number.isSafeInteger(seq_acked_through) ? (seq_acked_through as number) : null;
}

/** A station's own counts by day; null when it does not count. */
export function ownCounts(health: StationHealth | null): ReadonlyMap<Day, Counts> | null {
  if (!health?.days?.length) return null;
  const byDay = new Map<Day, Counts>();
  for (const { day, score_deciles, ...counts } of health.days) {
    byDay.set(day, plus(byDay.get(day) ?? none(), { ...counts, deciles: score_deciles }));
  }
  return byDay;
}
