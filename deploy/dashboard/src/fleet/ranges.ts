// Sets of whole numbers as sorted ranges that neither touch nor overlap. However far apart the numbers are, a set costs as
// much as it has ranges.

/** From the first to the last, both of them in it. */
export type Range = [first: number, last: number];

/** Index of the first range whose end is not before `n`. */
function at(ranges: readonly Range[], n: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle] as Range)[1] < n) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function has(ranges: readonly Range[], n: number): boolean {
  const range = ranges[at(ranges, n)];
  return range !== undefined && range[0] <= n;
}

/** Adds a range, in place. */
export function add(ranges: Range[], first: number, last = first): void {
  if (last < first) return;
  const from = at(ranges, first - 1);
  let to = from;
  let [low, high] = [first, last];
  for (; to < ranges.length && (ranges[to] as Range)[0] <= last + 1; to += 1) {
    const [a, b] = ranges[to] as Range;
    [low, high] = [Math.min(low, a), Math.max(high, b)];
  }
  ranges.splice(from, to - from, [low, high]);
}

/** What of `first..=last` is in none of the sets. */
export function holes(sets: readonly (readonly Range[])[], first: number, last: number): Range[] {
  let left: Range[] = first <= last ? [[first, last]] : [];
  for (const set of sets) left = left.flatMap((range) => without(range, set));
  return left;
}

function without([first, last]: Range, set: readonly Range[]): Range[] {
  const left: Range[] = [];
  let next = first;
  for (let i = at(set, first); i < set.length && (set[i] as Range)[0] <= last; i += 1) {
    const [a, b] = set[i] as Range;
    if (a > next) left.push([next, a - 1]);
    next = b + 1;
  }
  if (next <= last) left.push([next, last]);
  return left;
}

/** How many numbers there are. */
export function count(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

/** Keeps a set at `most` ranges by closing the lowest gaps; gives the gaps that were closed. */
export function bound(ranges: Range[], most: number): Range[] {
  const closed: Range[] = [];
  while (ranges.length > most) {
    const [low, next] = ranges as [Range, Range];
    closed.push([low[1] + 1, next[0] - 1]);
    ranges.splice(0, 2, [low[0], next[1]]);
  }
  return closed;
}
