// Fields of health that not every station of `v1` sends. They are looked at one by one, whatever the schema knows of them.
import type { Day } from "../fleet/days.ts";
import { type Counts, NAMES, none } from "../fleet/rates.ts";
import type { ModelSummary, StationHealth } from "../generated/payloads.ts";

interface Optional {
  disk_total_bytes: unknown;
  seq_acked_through: unknown;
  load_1m: unknown;
  cpus: unknown;
  camera: unknown;
  model: unknown;
  days: unknown;
}

const field = (health: StationHealth, name: keyof Optional): unknown => (health as Partial<Optional>)[name];

const count = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** A figure of health; null when the station does not say it. */
export function figure(health: StationHealth, name: "disk_total_bytes" | "load_1m" | "cpus"): number | null {
  const value = field(health, name);
  return typeof value === "number" ? value : null;
}

/** Whether the frame grabber is there, in a word; null where there is none. */
export function camera(health: StationHealth): string | null {
  const value = field(health, "camera");
  return typeof value === "string" ? value : null;
}

/** The model that scores now; null when health does not say. */
export function model(health: StationHealth | null): ModelSummary | null {
  const value = health && (field(health, "model") as Partial<ModelSummary> | null | undefined);
  const said = [value?.name, value?.bundle_sha256, value?.purpose].every((text) => typeof text === "string") && count(value?.version);
  return said ? (value as ModelSummary) : null;
}

/** The number up to which the broker has acknowledged every result; null when the station does not say. */
export function ackedThrough(health: StationHealth): number | null {
  const through = field(health, "seq_acked_through");
  return count(through) ? through : null;
}

/** A station's own counts by day; null when it does not count. A day that is none of the contract's is left out. */
export function ownCounts(health: StationHealth): ReadonlyMap<Day, Counts> | null {
  const days = field(health, "days");
  if (!Array.isArray(days) || days.length === 0) return null;
  const byDay = new Map<Day, Counts>();
  for (const said of days as (Record<string, unknown> | null)[]) {
    const day = said?.["day"];
    const deciles = said?.["score_deciles"];
    if (typeof day !== "string" || !Array.isArray(deciles) || !deciles.every(count)) continue;
    const counts = { ...none(), deciles };
    for (const name of NAMES) {
      const value = said?.[name];
      if (count(value)) counts[name] = value;
    }
    byDay.set(day, counts);
  }
  return byDay;
}
