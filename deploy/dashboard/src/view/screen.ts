// What a screen is, and what it may know.
import type { Fleet } from "../fleet/fleet.ts";
import type { Figures, Meter } from "../io/draw.ts";
import type { Storage } from "../io/storage.ts";

/** What every screen is given. */
export interface Context {
  fleet: Fleet;
  storage: Storage | null;
  /** Draws at the next frame. */
  ask: () => void;
  drawing: Meter;
  slices: Meter;
  /** The broker's address, and whether it had kept a session; null before the first connection. */
  session: { address: string; resumed: boolean | null };
  leave: () => void;
  forget: () => void;
}

export interface Screen {
  root: HTMLElement;
  title: string;
  draw(now: number): void;
}

export type { Figures };
