// The topic tree, as far as a dashboard reads it: `ulna/{version}/{station}/{kind}`.

/** The version of the payloads that this page understands. */
export const VERSION = "v1";

export const KINDS = ["status", "birth", "health", "result", "tombstone", "latest"] as const;
export type Kind = (typeof KINDS)[number];

/**
 * What the broker keeps of each station, and says again at every subscription. Every version is asked for, so that a
 * station this page does not understand is seen rather than missing.
 */
export const KEPT = ["status", "birth", "health", "latest"].map((kind) => `ulna/+/+/${kind}`);
/** Results and what is said in their place. The broker queues these while the page is away, so nothing else is asked for so. */
export const SEQUENCE = ["result", "tombstone"].map((kind) => `ulna/+/+/${kind}`);

export interface Topic {
  version: string;
  station: string;
  kind: Kind;
}

const isKind = (name: string): name is Kind => (KINDS as readonly string[]).includes(name);

/** A topic's parts; null when it is none of those above. */
export function parse(topic: string): Topic | null {
  const [root, version, station, kind, ...rest] = topic.split("/");
  if (root !== "ulna" || !version || !station || !kind || rest.length > 0 || !isKind(kind)) return null;
  return { version, station, kind };
}
