// A result as this page keeps it: what its screens show, without the activation maps.
import type { Delivered } from "../contract/read.ts";
import type { Answer, Outcome } from "../generated/payloads.ts";

export interface Study {
  station: string;
  outboxId: string;
  seq: number;
  /** The same for every revision of a study; see [`identity`]. */
  id: string;
  number: string | null;
  type: string | null;
  revision: number;
  outcome: Outcome;
  answer: Answer | null;
  withheld: string | null;
  /** Why there is no answer. */
  reason: string | null;
  probability: number | null;
  /** Milliseconds, by the station's clock. */
  closedAt: number | null;
  clockSynchronised: boolean | null;
  /** Milliseconds, by this browser's clock. */
  heardAt: number;
  views: number;
  /** Reasons of views that were refused, each once. */
  refused: string[];
  /** Reasons that the technician overruled, each once. */
  overruled: string[];
  model: string;
  demonstration: boolean;
}

/** What one looks for and counts by: an answer, or why there is none. */
export type Verdict = Answer | "rejected" | "failed";

export const VERDICTS: readonly Verdict[] = ["abnormal", "uncertain", "normal", "rejected", "failed"];

/** A scored result without an answer is one the station could not give. */
export const verdict = (study: Study): Verdict =>
  study.outcome === "scored" ? (study.answer ?? "failed") : study.outcome;

export function time(stamp: string | null | undefined): number | null {
  const ms = stamp ? Date.parse(stamp) : Number.NaN;
  return Number.isNaN(ms) ? null : ms;
}

export function isDemonstration(said: { notice: string; model: { purpose: string } }): boolean {
  return said.model.purpose === "demo" || said.notice.startsWith("DEMONSTRATION");
}

/** The study's key names it, across outboxes too; one without a key is known by its number, and else stands alone. */
function identity(result: Delivered): string {
  const { key, key_id, number } = result.study;
  const own = key ? `key ${key_id ?? ""} ${key}` : `${result.outbox_id} ${number ?? `seq ${result.seq}`}`;
  return `${result.station} ${own}`;
}

/** Words of a station are kept this long; nothing of the contract's comes near it. */
const WORDS_MAX_CHARS = 200;
const REASONS_MAX = 20;

const clip = (text: string): string => text.slice(0, WORDS_MAX_CHARS);
const clipped = (text: string | null | undefined): string | null => (text == null ? null : clip(text));

export function toStudy(result: Delivered, now: number): Study {
  const reasons = (list: readonly (string | undefined)[]): string[] => [...new Set(list.filter((one) => one !== undefined))].slice(0, REASONS_MAX).map(clip);
  return {
    station: result.station,
    outboxId: result.outbox_id,
    seq: result.seq,
    id: identity(result),
    number: clipped(result.study.number),
    type: clipped(result.study.type),
    revision: result.study.revision,
    outcome: result.outcome,
    answer: result.answer ?? null,
    withheld: clipped(result.answer_withheld),
    reason: clipped(result.reason),
    probability: result.study.probability ?? null,
    closedAt: time(result.study.closed_at),
    clockSynchronised: result.clock_synchronised ?? null,
    heardAt: now,
    views: result.views.length,
    refused: reasons(result.views.map((view) => view.rejected?.reason)),
    overruled: reasons(result.views.flatMap((view) => view.overruled ?? [])),
    model: clip(`${result.model.name} ${result.model.version}`),
    demonstration: isDemonstration(result),
  };
}

/** The day a study counts for, by its station's clock where that was right. */
export function countedAt(study: Study): number {
  return study.closedAt !== null && study.clockSynchronised !== false ? study.closedAt : study.heardAt;
}

/** Whether `next` takes the place of `known`, another result of the same study. */
export function supersedes(next: Study, known: Study): boolean {
  if (next.revision !== known.revision) return next.revision > known.revision;
  return next.outboxId !== known.outboxId || next.seq > known.seq;
}
