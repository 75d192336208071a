// Whether a station's share of abnormal, uncertain or rejected studies differs from its own past.
//
// A share is shown with its 95 % Wilson score interval (E. B. Wilson, JASA 22, 1927). Two shares are compared by the interval
// of their difference that is built from two Wilson intervals (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10),
// at 99.9 %: with three comparisons on each of 300 stations, 95 % would call forty of them different every day by chance.

export interface Counts {
  normal: number;
  uncertain: number;
  abnormal: number;
  rejected: number;
  failed: number;
  /** Scored studies by probability of abnormality: below 0.1, below 0.2, ... */
  deciles: number[];
}

export const NAMES = ["normal", "uncertain", "abnormal", "rejected", "failed"] as const;
export const MEASURES = ["abnormal", "uncertain", "rejected"] as const;
export type Measure = (typeof MEASURES)[number];

export const DECILES = 10;
export const Z_SHOWN = 1.959964;
export const Z_DIFFERS = 3.290527;
/** Fewer studies than this on either side are not compared. */
export const STUDIES_MIN = 20;
/** Population stability index from which a distribution of scores counts as moved. */
export const INDEX_MOVED = 0.25;

export function none(): Counts {
  return { normal: 0, uncertain: 0, abnormal: 0, rejected: 0, failed: 0, deciles: Array<number>(DECILES).fill(0) };
}

/** Adds `more` to `sum`, in place. */
export function plus(sum: Counts, more: Counts): Counts {
  for (const name of NAMES) sum[name] += more[name];
  for (let i = 0; i < DECILES; i += 1) sum.deciles[i] = (sum.deciles[i] ?? 0) + (more.deciles[i] ?? 0);
  return sum;
}

export const scored = (counts: Counts): number => counts.normal + counts.uncertain + counts.abnormal;
export const studies = (counts: Counts): number => scored(counts) + counts.rejected + counts.failed;

/** Abnormal and uncertain are shares of the scored studies, rejected of all. */
export function share(counts: Counts, measure: Measure): Share {
  return { k: counts[measure], n: measure === "rejected" ? studies(counts) : scored(counts) };
}

export interface Share {
  k: number;
  n: number;
}

export interface Interval {
  low: number;
  high: number;
}

/** Wilson's score interval of `k` of `n`. Everything when there is nothing. */
export function wilson({ k, n }: Share, z: number): Interval {
  if (n === 0) return { low: 0, high: 1 };
  const p = k / n;
  const middle = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return { low: k === 0 ? 0 : (middle - half) / scale, high: k === n ? 1 : (middle + half) / scale };
}

/** Newcombe's interval of the first share less the second. */
export function difference(one: Share, other: Share, z: number): Interval {
  const [p, q] = [one.k / one.n, other.k / other.n];
  const [a, b] = [wilson(one, z), wilson(other, z)];
  return { low: p - q - Math.hypot(p - a.low, b.high - q), high: p - q + Math.hypot(a.high - p, q - b.low) };
}

export type Verdict = "few" | "same" | "higher" | "lower";

export interface Comparison {
  recent: Share;
  before: Share;
  /** 95 %, of the recent share. */
  interval: Interval;
  verdict: Verdict;
  /** How far the difference's interval is from nothing; below 0 when it holds nothing. */
  evidence: number;
}

export function compare(recent: Share, before: Share): Comparison {
  const interval = wilson(recent, Z_SHOWN);
  if (recent.n < STUDIES_MIN || before.n < STUDIES_MIN) return { recent, before, interval, verdict: "few", evidence: -2 };
  const { low, high } = difference(recent, before, Z_DIFFERS);
  const evidence = Math.max(low, -high);
  const verdict = low > 0 ? "higher" : high < 0 ? "lower" : "same";
  return { recent, before, interval, verdict, evidence };
}

/**
 * Population stability index between two distributions of scores: the sum over the deciles of (p - q) ln(p / q), with half a
 * study added to each so that an empty one is not infinitely unlikely. Null when there are too few.
 */
export function stabilityIndex(recent: Counts, before: Counts): number | null {
  const [n, m] = [scored(recent), scored(before)];
  if (n < STUDIES_MIN || m < STUDIES_MIN) return null;
  let index = 0;
  for (let i = 0; i < DECILES; i += 1) {
    const p = ((recent.deciles[i] ?? 0) + 0.5) / (n + DECILES / 2);
    const q = ((before.deciles[i] ?? 0) + 0.5) / (m + DECILES / 2);
    index += (p - q) * Math.log(p / q);
  }
  return index;
}
