// Between the connection and the fleet: messages wait here, and are taken in slices that leave the browser time to draw. When
// too many wait, the connection is not read further, and the broker keeps what follows.

/** Longest a slice of work may be, in milliseconds: well below a frame of 60 a second. */
const SLICE_MAX_MS = 6;
/** Messages that wait before the connection is no longer read. */
const WAITING_MAX = 500;

export interface Incoming {
  topic: string;
  payload: Uint8Array;
  retained: boolean;
}

export class Intake {
  readonly #waiting: Incoming[] = [];
  #next = 0;
  #held: (() => void) | null = null;
  #scheduled = false;

  /** `take` is given every message, `after` is called at the end of each slice with how long it took. */
  constructor(private readonly take: (message: Incoming) => void, private readonly after: (ms: number) => void) {}

  /** Takes a message in; `ready` is called once the next may come. */
  push(message: Incoming, ready: () => void): void {
    this.#waiting.push(message);
    if (this.#waiting.length - this.#next < WAITING_MAX) ready();
    else this.#held = ready;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => this.#work(), 0);
  }

  #work(): void {
    this.#scheduled = false;
    const started = performance.now();
    let message = this.#waiting[this.#next];
    while (message) {
      this.#next += 1;
      this.take(message);
      message = performance.now() - started < SLICE_MAX_MS ? this.#waiting[this.#next] : undefined;
    }
    this.#waiting.splice(0, this.#next);
    this.#next = 0;
    this.after(performance.now() - started);
    const ready = this.#held;
    this.#held = null;
    ready?.();
    if (this.#waiting.length > 0) this.#schedule();
  }
}
