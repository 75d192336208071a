// From a message's bytes to a payload that can be trusted to be one, or to a reason why it is none.
import type { StationBirth, StationHealth, StationStatus, StudyResult } from "../generated/payloads.ts";
import * as validate from "../generated/validate.js";
import { parse, VERSION } from "./topics.ts";

/** Where a message stands in its station's sequence. */
export interface Delivery {
  station: string;
  outbox_id: string;
  seq: number;
  oldest_unsent_seq: number;
}
export type Delivered = StudyResult & Delivery;

interface Envelope<Kind, Payload> {
  kind: Kind;
  station: string;
  /** Whether the broker had kept it, so that it says nothing of the station's being there now. */
  retained: boolean;
  payload: Payload;
}

export type Message =
  | Envelope<"status", StationStatus>
  | Envelope<"birth", StationBirth>
  | Envelope<"health", StationHealth>
  | Envelope<"result" | "latest", Delivered>
  | Envelope<"tombstone", Delivery>
  | Envelope<"gone", null>;

export type BadReason = "topic" | "version" | "too_large" | "not_json" | "schema" | "other_station" | "no_delivery" | "number";

export interface Bad {
  kind: "bad";
  topic: string;
  reason: BadReason;
  /** The place and the rule it broke; never a part of the payload. */
  detail: string;
}

/** Longest payload that is read, in bytes: the broker's own limit. */
export const PAYLOAD_MAX_BYTES = 1_048_576;
const TOPIC_SHOWN_MAX_CHARS = 160;
const DETAIL_MAX_CHARS = 200;

/** A function that scripts/generate.mjs made, with what it found wrong last. */
type Validator = ((payload: unknown) => boolean) & { errors?: { instancePath: string; message?: string }[] | null };

/** A kind without a schema is checked for its place in the sequence alone. */
const validators = validate as unknown as Partial<Record<string, Validator>>;

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Reads a message. */
export function read(topic: string, bytes: Uint8Array, retained: boolean): Message | Bad {
  const bad = (reason: BadReason, detail: string): Bad => ({
    kind: "bad", topic: topic.slice(0, TOPIC_SHOWN_MAX_CHARS), reason, detail: detail.slice(0, DETAIL_MAX_CHARS),
  });
  const parts = parse(topic);
  if (!parts) return bad("topic", "");
  const { station, kind } = parts;
  if (parts.version !== VERSION) return bad("version", parts.version);
  if (bytes.length > PAYLOAD_MAX_BYTES) return bad("too_large", `${bytes.length}`);
  // An empty retained message is how a kept one is taken off a broker.
  if (bytes.length === 0 && kind !== "result" && kind !== "tombstone") return { kind: "gone", station, retained, payload: null };

  let payload: unknown;
  try {
    payload = JSON.parse(decoder.decode(bytes));
  } catch {
    return bad("not_json", "");
  }
  const check = validators[kind === "latest" ? "result" : kind];
  if (check && !check(payload)) {
    const first = check.errors?.[0];
    return bad("schema", `${first?.instancePath || "/"} ${first?.message ?? ""}`);
  }
  const said = (payload ?? {}) as Partial<Delivery>;
  if (said.station !== undefined && said.station !== station) return bad("other_station", "");
  if (kind === "result" || kind === "latest" || kind === "tombstone") {
    const { seq, oldest_unsent_seq } = said;
    if (said.station === undefined || typeof said.outbox_id !== "string") return bad("no_delivery", "");
    if (typeof seq !== "number" || typeof oldest_unsent_seq !== "number") return bad("no_delivery", "");
    if (!Number.isSafeInteger(seq) || !Number.isSafeInteger(oldest_unsent_seq) || seq < 1) return bad("number", "seq");
  }
  return { kind, station, retained, payload } as Message;
}
