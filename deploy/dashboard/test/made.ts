// Valid payloads, as small as they may be.
import type { Delivered } from "../src/contract/read.ts";

const MODEL = { name: "mura-169", version: 3, bundle_sha256: "ab".repeat(32), purpose: "clinical-evaluation" };
const NOTICE = "decision support only";

export const NOW = Date.parse("2026-03-20T12:00:00Z");

export function result(seq: number, change: Record<string, unknown> = {}, study: Record<string, unknown> = {}): Delivered {
  return {
    station: "clinic-1", outbox_id: "a1", seq, oldest_unsent_seq: seq, outcome: "scored", answer: "normal", answer_withheld: null, reason: null,
    study: {
      key: `k${seq}`, key_id: "1", number: `ELB-${seq}`, type: "XR_ELBOW", revision: 1, opened_at: "2026-03-20T11:50:00Z",
      closed_at: "2026-03-20T11:59:00Z", probability: 0.12, ...study,
    },
    views: [], operating_points: null, model: MODEL, clock_synchronised: true, notice: NOTICE, ...change,
  } as Delivered;
}

export function health(change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    station: "clinic-1", at: "2026-03-20T11:59:30Z", uptime_s: 100, disk_free_bytes: 8e9, outbox_depth: 0, outbox_oldest_age_s: null,
    outbox_dead: 0, images_waiting: 0, temperature_c: 51.5, clock_synchronised: true, ...change,
  };
}

export function status(change: Record<string, unknown> = {}): Record<string, unknown> {
  return { station: "clinic-1", status: "online", reason: "started", at: "2026-03-20T11:00:00Z", ...change };
}

export function birth(change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    station: "clinic-1", edge_version: "0.1.0", model: MODEL, study_types: ["XR_ELBOW"], outbox_id: "a1",
    schemas: ["ulna/v1/result"], notice: NOTICE, ...change,
  };
}

export const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
