// Writes what changed into the browser's storage, a moment after it changed and when the page is left.
import type { Fleet } from "../fleet/fleet.ts";
import type { Storage } from "./storage.ts";

/** Changes of this long are written together. */
const WRITE_EVERY_MS = 250;

export class Keeper {
  #timer: number | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(private readonly fleet: Fleet, private readonly storage: Storage | null, private readonly failed: (why: string) => void) {
    window.addEventListener("pagehide", () => void this.write());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") void this.write();
    });
  }

  /** Something changed. */
  changed(): void {
    this.#timer ??= window.setTimeout(() => void this.write(), WRITE_EVERY_MS);
  }

  /** Writes now. One write follows the other, so that an older state never lands on a newer one. */
  write(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const { storage, fleet } = this;
    if (!storage) {
      fleet.takeChanges();
      return this.#writing;
    }
    this.#writing = storage.write(fleet.takeChanges(), fleet.stations).catch((error: unknown) => {
      this.failed(error instanceof Error ? error.name : String(error));
    });
    return this.#writing;
  }
}
