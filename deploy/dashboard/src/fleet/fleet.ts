// All that this page knows: it takes messages in, and says what changed, so that the screens draw and the browser keeps no
// more than that. Pure: it reads no clock, touches no page and no storage.
import { ackedThrough, ownCounts } from "../contract/health.ts";
import type { Bad, BadReason, Delivered, Delivery, Message } from "../contract/read.ts";
import type { StationBirth, StationHealth, StationStatus } from "../generated/payloads.ts";
import { dayOf, type History, history } from "./days.ts";
import { type Presence, presence } from "./presence.ts";
import { acknowledge, interrupt, observe, type Outbox, settle } from "./sequence.ts";
import { Studies, STUDY_DAYS_MAX } from "./studies.ts";
import { isDemonstration, type Study, time, toStudy } from "./study.ts";

export interface Station {
  name: string;
  status: StationStatus | null;
  /** Browser's time at which the status came. */
  statusAt: number;
  birth: StationBirth | null;
  health: StationHealth | null;
  /** Browser's time of the last message that the broker had not kept. */
  heardAt: number | null;
}

/** A station's health at a moment, as charts show it. */
export interface Sample {
  station: string;
  /** Quarter of an hour since 1970; the last sample of each is kept. */
  slot: number;
  at: number;
  disk_free_bytes: number;
  outbox_depth: number;
  temperature_c: number | null;
}

export const SLOT_MS = 900_000;
export const SAMPLE_DAYS_MAX = 7;
/** Most bad messages that are shown; all are counted. */
const BAD_SHOWN_MAX = 100;
/** Most stations that are kept; results of further ones are refused as bad messages of the topic. */
const STATIONS_MAX = 5_000;
const DAY_MS = 86_400_000;

/** What is to be kept that was not kept before. */
export interface Changes {
  stations: Set<string>;
  stationsGone: Set<string>;
  outboxes: Set<Outbox>;
  outboxesGone: Set<Outbox>;
  studies: Study[];
  studiesGone: Study[];
  samples: Map<string, Sample>;
}

const unchanged = (): Changes => ({
  stations: new Set(), stationsGone: new Set(), outboxes: new Set(), outboxesGone: new Set(), studies: [], studiesGone: [],
  samples: new Map(),
});

export const outboxKey = (station: string, outboxId: string): string => `${station} ${outboxId}`;

/** What was kept of earlier visits. */
export interface Kept {
  stations: Station[];
  outboxes: Outbox[];
  studies: Study[];
}

export class Fleet {
  readonly stations = new Map<string, Station>();
  readonly outboxes = new Map<string, Outbox>();
  readonly studies = new Studies();
  readonly bad = { counts: new Map<BadReason, number>(), last: [] as (Bad & { at: number })[] };
  readonly messages = { taken: 0, superseded: 0 };
  listeningSince: number | null = null;
  readonly #histories = new WeakMap<StationHealth, History>();
  #changes = unchanged();

  restore(kept: Kept): void {
    for (const station of kept.stations) this.stations.set(station.name, station);
    for (const outbox of kept.outboxes) this.outboxes.set(outboxKey(outbox.station, outbox.outboxId), outbox);
    this.studies.restore(kept.studies);
  }

  /** What changed since this was last asked. */
  takeChanges(): Changes {
    const changes = this.#changes;
    this.#changes = unchanged();
    return changes;
  }

  /** The broker answers. `resumed`: it kept what it could not send meanwhile. */
  listen(resumed: boolean, now: number): void {
    this.listeningSince = now;
    if (resumed) return;
    for (const outbox of this.outboxes.values()) {
      interrupt(outbox);
      this.#changes.outboxes.add(outbox);
    }
  }

  /** The connection is gone. */
  deafen(): void {
    this.listeningSince = null;
  }

  /** Takes a message in. */
  take(message: Message | Bad, now: number): void {
    this.messages.taken += 1;
    if (message.kind === "bad") return this.#refuse(message, now);
    const station = this.#station(message.station);
    if (!station) return this.#refuse({ kind: "bad", topic: message.station, reason: "topic", detail: "" }, now);
    if (!message.retained && !isWill(message)) station.heardAt = now;
    this.#changes.stations.add(station.name);
    switch (message.kind) {
      case "status":
        station.status = message.payload;
        station.statusAt = now;
        return;
      case "birth":
        station.birth = message.payload;
        return;
      case "health":
        return this.#health(station, message.payload, message.retained, now);
      case "gone":
        return this.#gone(station);
      case "tombstone":
        this.#arrive(message.payload, message.retained, true, now);
        return;
      case "result":
      case "latest":
        return this.#result(message.payload, message.kind === "latest" || message.retained, now);
    }
  }

  /** What time alone changes. */
  tick(now: number): void {
    for (const outbox of this.outboxes.values()) if (settle(outbox, now)) this.#changes.outboxes.add(outbox);
  }

  /** Lets go of what is too old or too much to be kept. */
  prune(now: number): void {
    this.#changes.studiesGone.push(...this.studies.prune(now));
    for (const [key, outbox] of this.outboxes) {
      if (now - outbox.heardAt < STUDY_DAYS_MAX * DAY_MS) continue;
      this.outboxes.delete(key);
      this.#changes.outboxesGone.add(outbox);
    }
  }

  presence(station: Station, now: number): Presence {
    return presence({ ...station, listeningSince: this.listeningSince }, now);
  }

  isDemonstration(station: Station): boolean {
    return station.birth !== null && isDemonstration(station.birth);
  }

  /** A station's last 28 days: what it counted itself where its health says so, else what came here. */
  history(name: string, now: number): History {
    const health = this.stations.get(name)?.health ?? null;
    const known = health && this.#histories.get(health);
    if (known && known.days[0]?.day === dayOf(now)) return known;
    const own = health && ownCounts(health);
    if (!health || !own) return history(this.studies.counted(name), "page", now);
    const made = history(own, "station", now);
    this.#histories.set(health, made);
    return made;
  }

  #station(name: string): Station | null {
    const known = this.stations.get(name);
    if (known) return known;
    if (this.stations.size >= STATIONS_MAX) return null;
    const made: Station = { name, status: null, statusAt: 0, birth: null, health: null, heardAt: null };
    this.stations.set(name, made);
    return made;
  }

  #refuse(bad: Bad, now: number): void {
    this.bad.counts.set(bad.reason, (this.bad.counts.get(bad.reason) ?? 0) + 1);
    this.bad.last.unshift({ ...bad, at: now });
    this.bad.last.length = Math.min(this.bad.last.length, BAD_SHOWN_MAX);
  }

  #gone(station: Station): void {
    // Each of its topics is emptied by a message of its own; the first says what is meant.
    this.stations.delete(station.name);
    this.#changes.stations.delete(station.name);
    this.#changes.stationsGone.add(station.name);
  }

  #health(station: Station, health: StationHealth, retained: boolean, now: number): void {
    station.health = health;
    const at = retained ? time(health.at) : now;
    if (at !== null) {
      const { disk_free_bytes, outbox_depth, temperature_c } = health;
      const sample = { station: station.name, slot: Math.floor(at / SLOT_MS), at, disk_free_bytes, outbox_depth };
      this.#changes.samples.set(`${station.name} ${sample.slot}`, { ...sample, temperature_c: temperature_c ?? null });
    }
    const through = ackedThrough(health);
    const outboxId = station.birth?.outbox_id;
    if (through !== null && outboxId) {
      const key = outboxKey(station.name, outboxId);
      const outbox = acknowledge(this.outboxes.get(key), station.name, outboxId, through, retained, now);
      this.outboxes.set(key, outbox);
      this.#changes.outboxes.add(outbox);
    }
  }

  /** Enters a message into its sequence; says whether it is new. */
  #arrive({ station, outbox_id, seq, oldest_unsent_seq }: Delivery, retained: boolean, tombstone: boolean, now: number): boolean {
    const key = outboxKey(station, outbox_id);
    const arrival = { station, outboxId: outbox_id, seq, oldestUnsent: oldest_unsent_seq, retained, tombstone };
    const { outbox, fresh } = observe(this.outboxes.get(key), arrival, now);
    this.outboxes.set(key, outbox);
    this.#changes.outboxes.add(outbox);
    return fresh;
  }

  #result(result: Delivered, retained: boolean, now: number): void {
    if (!this.#arrive(result, retained, false, now)) return;
    const { taken, replaced } = this.studies.take(toStudy(result, now));
    if (!taken || replaced) this.messages.superseded += 1;
    if (replaced) this.#changes.studiesGone.push(replaced);
    const study = this.studies.list.at(-1);
    if (taken && study) this.#changes.studies.push(study);
  }
}

/** The broker's word, not the station's. */
function isWill(message: Message): boolean {
  return message.kind === "status" && message.payload.status === "offline" && !message.payload.at;
}
