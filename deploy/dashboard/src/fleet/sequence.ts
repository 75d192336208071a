// What of a station's sequence this page has: `(outbox_id, seq)` counts up by one, so a number that is not there is a result
// that was not seen. `oldest_unsent_seq` tells the two kinds apart: every lower number reached the broker, so one of those
// that is not here is missing; one from there on is still with the station and only late (abnormal results go before
// normal ones when a backlog drains).
//
// Where the sequence was not watched (before the page first saw it, or while the broker kept no session for the page)
// nothing can be said, and nothing is called missing.
import { add, bound, has, holes, type Range } from "./ranges.ts";

export interface Outbox {
  station: string;
  outboxId: string;
  /** The first number that was watched. */
  first: number;
  /** The highest number that is known of. */
  highest: number;
  /** Every number below it has reached the broker. */
  oldestUnsent: number;
  received: Range[];
  /** Not watched. */
  unwatched: Range[];
  /** A tombstone said that they do not come. */
  dropped: Range[];
  /** Messages that were here already: sent again. */
  repeats: number;
  /** Numbers of which so far only the copy came that the broker keeps as the newest result. */
  copies: number[];
  /** Browser's time of the last new one, in milliseconds. */
  heardAt: number;
  /** The next message begins a new watch. */
  resuming: boolean;
  /** What health last said was acknowledged, and when; see [`ACKED_SETTLES_MS`]. */
  acked: { through: number; at: number } | null;
}

/**
 * Health is kept by the broker and overtakes results that it has queued for this page. What it says was acknowledged
 * counts after this long.
 */
export const ACKED_SETTLES_MS = 60_000;
/** Most ranges that are kept of an outbox; beyond, the oldest holes are forgotten. */
const RANGES_MAX = 2_000;
const COPIES_MAX = 50;

/** A sequence of which one message is known. `live` is false for what the broker had kept. */
function begin(station: string, outboxId: string, from: number, now: number): Outbox {
  return {
    station, outboxId, first: from, highest: from - 1, oldestUnsent: from, received: [], unwatched: [], dropped: [],
    repeats: 0, copies: [], heardAt: now, resuming: false, acked: null,
  };
}

/** A message of a sequence. */
export interface Arrival {
  station: string;
  outboxId: string;
  seq: number;
  oldestUnsent: number;
  /** Kept by the broker: what was sent before it may have come when nobody watched. */
  retained: boolean;
  /** A tombstone in the place of a result; a result that comes all the same takes its place. */
  tombstone?: boolean;
}

/** Takes a message into its sequence, which it begins when `known` is undefined. Says whether it is new. */
export function observe(known: Outbox | undefined, arrival: Arrival, now: number): { outbox: Outbox; fresh: boolean } {
  const from = arrival.retained ? arrival.seq : Math.min(arrival.seq, Math.max(1, arrival.oldestUnsent));
  const outbox = known ?? begin(arrival.station, arrival.outboxId, from, now);
  if (has(outbox.received, arrival.seq) || (arrival.tombstone && has(outbox.dropped, arrival.seq))) {
    const copy = outbox.copies.indexOf(arrival.seq);
    if (!arrival.retained && copy < 0) outbox.repeats += 1;
    else if (!arrival.retained) outbox.copies.splice(copy, 1);
    return { outbox, fresh: false };
  }
  if (arrival.retained) outbox.copies = [...outbox.copies.slice(1 - COPIES_MAX), arrival.seq];
  if (outbox.resuming) resume(outbox, from - 1);
  add(arrival.tombstone ? outbox.dropped : outbox.received, arrival.seq);
  outbox.highest = Math.max(outbox.highest, arrival.seq);
  outbox.oldestUnsent = Math.max(outbox.oldestUnsent, arrival.oldestUnsent);
  outbox.heardAt = now;
  for (const [first, last] of bound(outbox.received, RANGES_MAX)) add(outbox.unwatched, first, last);
  bound(outbox.unwatched, RANGES_MAX);
  bound(outbox.dropped, RANGES_MAX);
  return { outbox, fresh: true };
}

/** Nothing is known of what was sent up to `last` while nobody watched. */
function resume(outbox: Outbox, last: number): void {
  // What was missing before the pause stays missing.
  for (const [a, b] of holes([outbox.received, outbox.dropped], outbox.oldestUnsent, last)) add(outbox.unwatched, a, b);
  outbox.resuming = false;
}

/** The watch was broken: the broker kept nothing for this page. */
export function interrupt(outbox: Outbox): void {
  outbox.resuming = true;
  outbox.acked = null;
}

/** Health says that every number up to `through` was acknowledged. Begins a sequence of which nothing is known yet. */
export function acknowledge(
  known: Outbox | undefined, station: string, outboxId: string, through: number, retained: boolean, now: number,
): Outbox {
  const outbox = known ?? begin(station, outboxId, through + 1, now);
  if (outbox.resuming) {
    resume(outbox, through);
    outbox.highest = Math.max(outbox.highest, through);
    outbox.oldestUnsent = Math.max(outbox.oldestUnsent, through + 1);
  } else if (!retained) {
    settle(outbox, now);
    outbox.acked ??= { through, at: now };
  }
  return outbox;
}

/** Believes what health said long enough ago. */
export function settle(outbox: Outbox, now: number): boolean {
  const { acked } = outbox;
  if (!acked || now - acked.at < ACKED_SETTLES_MS) return false;
  outbox.acked = null;
  if (acked.through < outbox.oldestUnsent) return false;
  outbox.oldestUnsent = acked.through + 1;
  outbox.highest = Math.max(outbox.highest, acked.through);
  return true;
}

export interface Gaps {
  /** Reached the broker, never this page. */
  missing: Range[];
  /** Still with the station. */
  late: Range[];
}

/** The numbers that were watched for and are not here. */
export function gaps(outbox: Outbox): Gaps {
  const seen = [outbox.received, outbox.unwatched, outbox.dropped];
  return {
    missing: holes(seen, outbox.first, Math.min(outbox.highest, outbox.oldestUnsent - 1)),
    late: holes(seen, Math.max(outbox.first, outbox.oldestUnsent), outbox.highest),
  };
}
