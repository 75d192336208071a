// What of a station's health needs somebody, and from which value on.
import { camera } from "../contract/health.ts";
import type { StationHealth } from "../generated/payloads.ts";

export const LIMITS = {
  disk_low_bytes: 2 * 1024 ** 3,
  disk_full_bytes: 512 * 1024 ** 2,
  queue_old_s: 3_600,
  images_waiting: 20,
  hot_c: 80,
} as const;

export type Warning = "disk_full" | "disk_low" | "dead_letters" | "queue_old" | "images_waiting" | "hot" | "camera" | "clock";

/** Gravest first. */
export function warnings(health: StationHealth | null): Warning[] {
  if (!health) return [];
  const found: Warning[] = [];
  if (health.disk_free_bytes < LIMITS.disk_full_bytes) found.push("disk_full");
  else if (health.disk_free_bytes < LIMITS.disk_low_bytes) found.push("disk_low");
  if (health.outbox_dead > 0) found.push("dead_letters");
  if ((health.outbox_oldest_age_s ?? 0) > LIMITS.queue_old_s) found.push("queue_old");
  if (health.images_waiting > LIMITS.images_waiting) found.push("images_waiting");
  if ((health.temperature_c ?? 0) > LIMITS.hot_c) found.push("hot");
  if (["missing", "failing"].includes(camera(health) ?? "")) found.push("camera");
  if (health.clock_synchronised === false) found.push("clock");
  return found;
}
