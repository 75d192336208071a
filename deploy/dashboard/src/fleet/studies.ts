// The studies this page keeps, in the order they came, each in its highest revision; and what was counted of them by
// station and day.
import { type Day, dayOf } from "./days.ts";
import { type Counts, DECILES, none } from "./rates.ts";
import { countedAt, type Study, supersedes, verdict } from "./study.ts";

/** Most studies that are kept, and for how long. What is beyond goes, oldest first. */
export const STUDIES_MAX = 100_000;
export const STUDY_DAYS_MAX = 35;

const DAY_MS = 86_400_000;

export class Studies {
  #list: Study[] = [];
  readonly #byId = new Map<string, Study>();
  readonly #counted = new Map<string, Map<Day, Counts>>();
  /** Goes up whenever something other than an appended study changed. */
  #generation = 0;

  /** In the order they came. */
  get list(): readonly Study[] {
    return this.#list;
  }

  get generation(): number {
    return this.#generation;
  }

  /**
   * Takes a result in. Gives what it replaced; `taken` is false for a revision that came after a higher one, which is not
   * kept.
   */
  take(study: Study): { taken: boolean; replaced: Study | null } {
    const known = this.#byId.get(study.id);
    if (known && !supersedes(study, known)) return { taken: false, replaced: null };
    if (known) this.#remove(new Set([known]));
    this.#list.push(study);
    this.#byId.set(study.id, study);
    this.#count(study, 1);
    return { taken: true, replaced: known ?? null };
  }

  /** Takes in what was kept, in the order it came, into an empty list. */
  restore(studies: Iterable<Study>): void {
    for (const study of studies) {
      this.#list.push(study);
      this.#byId.set(study.id, study);
      this.#count(study, 1);
    }
    this.#generation += 1;
  }

  /** Lets go of what is beyond the limits, and gives it. */
  prune(now: number): Study[] {
    const oldest = now - STUDY_DAYS_MAX * DAY_MS;
    const beyond = this.#list.length - STUDIES_MAX;
    const gone = this.#list.filter((study, i) => i < beyond || study.heardAt < oldest);
    if (gone.length > 0) this.#remove(new Set(gone));
    return gone;
  }

  /** What this page counted of a station. */
  counted(station: string): ReadonlyMap<Day, Counts> {
    return this.#counted.get(station) ?? new Map<Day, Counts>();
  }

  #remove(gone: ReadonlySet<Study>): void {
    this.#list = this.#list.filter((study) => !gone.has(study));
    for (const study of gone) {
      this.#byId.delete(study.id);
      this.#count(study, -1);
    }
    this.#generation += 1;
  }

  #count(study: Study, by: 1 | -1): void {
    const days = this.#counted.get(study.station) ?? new Map<Day, Counts>();
    this.#counted.set(study.station, days);
    const day = dayOf(countedAt(study));
    const counts = days.get(day) ?? none();
    days.set(day, counts);
    counts[verdict(study)] += by;
    if (study.outcome === "scored" && study.probability !== null) {
      const decile = Math.min(DECILES - 1, Math.max(0, Math.floor(study.probability * DECILES)));
      counts.deciles[decile] = (counts.deciles[decile] ?? 0) + by;
    }
  }
}
