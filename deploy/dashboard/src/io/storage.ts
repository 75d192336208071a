// What this browser keeps, in IndexedDB: stations, sequences, studies, health over time, settings. All changes of a moment are
// written in one transaction, so that a number is never known as received without its study.
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import { type Changes, type Kept, type Sample, SAMPLE_DAYS_MAX, SLOT_MS, type Station } from "../fleet/fleet.ts";
import type { Outbox } from "../fleet/sequence.ts";
import type { Study } from "../fleet/study.ts";

const NAME = "ulna-dashboard";
const VERSION = 1;

/** A login, kept only when the user asks for it. */
export interface Login {
  address: string;
  user: string;
  password: string;
}

interface Settings {
  login: Login;
  /** The name under which the broker keeps a session for this browser. */
  client: string;
}

interface Schema extends DBSchema {
  stations: { key: string; value: Station };
  outboxes: { key: [station: string, outboxId: string]; value: Outbox };
  studies: { key: [station: string, outboxId: string, seq: number]; value: Study };
  samples: { key: [station: string, slot: number]; value: Sample; indexes: { slot: number } };
  settings: { key: keyof Settings; value: Settings[keyof Settings] };
}

const STORES = ["stations", "outboxes", "studies", "samples", "settings"] as const;

export class Storage {
  private constructor(private readonly db: IDBPDatabase<Schema>) {}

  /** Opens it; throws where the browser keeps nothing (some private windows). */
  static async open(): Promise<Storage> {
    return new Storage(await openDB<Schema>(NAME, VERSION, {
      upgrade(db) {
        db.createObjectStore("stations", { keyPath: "name" });
        db.createObjectStore("outboxes", { keyPath: ["station", "outboxId"] });
        db.createObjectStore("studies", { keyPath: ["station", "outboxId", "seq"] });
        db.createObjectStore("samples", { keyPath: ["station", "slot"] }).createIndex("slot", "slot");
        db.createObjectStore("settings");
      },
    }));
  }

  async kept(): Promise<Kept> {
    const tx = this.db.transaction(["stations", "outboxes", "studies"]);
    const [stations, outboxes, studies] = await Promise.all([
      tx.objectStore("stations").getAll(), tx.objectStore("outboxes").getAll(), tx.objectStore("studies").getAll(),
    ]);
    // Reading all and sorting is quicker than reading by an index.
    studies.sort((a, b) => a.heardAt - b.heardAt);
    return { stations, outboxes, studies };
  }

  /** Writes what changed, all or nothing. */
  async write(changes: Changes, stations: ReadonlyMap<string, Station>): Promise<void> {
    const tx = this.db.transaction(["stations", "outboxes", "studies", "samples"], "readwrite");
    const [kept, outboxes, studies, samples] = [
      tx.objectStore("stations"), tx.objectStore("outboxes"), tx.objectStore("studies"), tx.objectStore("samples"),
    ];
    const work: Promise<unknown>[] = [];
    for (const name of changes.stationsGone) work.push(kept.delete(name));
    for (const name of changes.stations) {
      const station = stations.get(name);
      if (station) work.push(kept.put(station));
    }
    for (const outbox of changes.outboxes) work.push(outboxes.put(outbox));
    for (const outbox of changes.outboxesGone) work.push(outboxes.delete([outbox.station, outbox.outboxId]));
    for (const study of changes.studies) work.push(studies.put(study));
    for (const { station, outboxId, seq } of changes.studiesGone) work.push(studies.delete([station, outboxId, seq]));
    for (const sample of changes.samples.values()) work.push(samples.put(sample));
    tx.commit();
    await Promise.all([...work, tx.done]);
  }

  /** A station's health over time, oldest first. */
  samples(station: string): Promise<Sample[]> {
    return this.db.getAll("samples", IDBKeyRange.bound([station, 0], [station, Infinity]));
  }

  /** Lets go of samples that are too old. */
  async pruneSamples(now: number): Promise<void> {
    const oldest = Math.floor((now - SAMPLE_DAYS_MAX * 86_400_000) / SLOT_MS);
    const tx = this.db.transaction("samples", "readwrite");
    let cursor = await tx.store.index("slot").openCursor(IDBKeyRange.upperBound(oldest, true));
    while (cursor) {
      await cursor.delete();
      cursor = await cursor.continue();
    }
    await tx.done;
  }

  async setting<Name extends keyof Settings>(name: Name): Promise<Settings[Name] | undefined> {
    return (await this.db.get("settings", name)) as Settings[Name] | undefined;
  }

  async set<Name extends keyof Settings>(name: Name, value: Settings[Name] | null): Promise<void> {
    if (value === null) await this.db.delete("settings", name);
    else await this.db.put("settings", value, name);
  }

  /** Forgets everything. */
  async clear(): Promise<void> {
    const tx = this.db.transaction(STORES, "readwrite");
    await Promise.all([...STORES.map((name) => tx.objectStore(name).clear()), tx.done]);
  }
}
