// One drawing per frame, however much changed; and how long drawings and slices of work took.

/** Messages alone make the page draw no more often than this, so that most frames are free for who scrolls and types. */
const LATER_MS = 150;
/** Durations that are remembered. */
const REMEMBERED = 600;

export interface Figures {
  count: number;
  median_ms: number;
  p95_ms: number;
  worst_ms: number;
}

/** The last durations of one kind of work. */
export class Meter {
  readonly #last: number[] = [];
  #count = 0;

  add(ms: number): void {
    this.#last[this.#count % REMEMBERED] = ms;
    this.#count += 1;
  }

  figures(): Figures {
    const sorted = [...this.#last].sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
    return { count: this.#count, median_ms: at(0.5), p95_ms: at(0.95), worst_ms: at(1) };
  }
}

export class Draw {
  readonly meter = new Meter();
  #asked = false;
  #timer: number | null = null;

  constructor(private readonly work: () => void) {}

  /** Draws before long. */
  later(): void {
    this.#timer ??= window.setTimeout(() => {
      this.#timer = null;
      this.ask();
    }, LATER_MS);
  }

  /** Draws at the next frame. */
  ask(): void {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      const started = performance.now();
      this.work();
      this.meter.add(performance.now() - started);
    });
  }
}
