// Whether a station is there, as far as a subscriber can know.
import type { StationStatus } from "../generated/payloads.ts";

/**
 * `offline`: it said goodbye. `lost`: its connection broke, and the broker published its will. `stale`: it says that it is
 * there, and has sent nothing for so long that it may not be. `unknown`: it never said.
 */
export type Presence = "online" | "degraded" | "stale" | "offline" | "lost" | "unknown";

/** Health comes every 60 s; a station is stale after three that did not come. */
export const STALE_MS = 200_000;

/** The broker says within this time what it keeps of a station; a station it says nothing of is no longer known there. */
export const CONFIRM_MS = 30_000;

export interface Heard {
  status: StationStatus | null;
  /** Browser's time at which the status came. */
  statusAt: number;
  /** Browser's time of the last message that the broker had not kept; null when none came yet. */
  heardAt: number | null;
  /** Since when this page has been listening without a break; null while it is not connected. */
  listeningSince: number | null;
}

export function presence({ status, statusAt, heardAt, listeningSince }: Heard, now: number): Presence {
  const unconfirmed = listeningSince !== null && statusAt < listeningSince && now - listeningSince > CONFIRM_MS;
  if (!status || unconfirmed) return "unknown";
  if (status.status === "offline") return status.reason === "connection_lost" ? "lost" : "offline";
  const heard = Math.max(heardAt ?? 0, listeningSince ?? now);
  return now - heard > STALE_MS ? "stale" : status.status;
}

/** Worst first. */
export const ORDER: readonly Presence[] = ["lost", "stale", "degraded", "offline", "unknown", "online"];
