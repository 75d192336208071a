import assert from "node:assert/strict";
import { test } from "node:test";
import { dayOf, history, lastDays, split } from "../src/fleet/days.ts";
import { compare, type Counts, difference, none, share, stabilityIndex, wilson } from "../src/fleet/rates.ts";
import { NOW } from "./made.ts";

const near = (value: number, wanted: number): void => assert.ok(Math.abs(value - wanted) < 5e-4, `${value}, not ${wanted}`);
const counts = (change: Partial<Counts>): Counts => ({ ...none(), ...change });

test("Wilson's interval is that of the published examples", () => {
  const tenth = wilson({ k: 10, n: 100 }, 1.959964);
  near(tenth.low, 0.0552);
  near(tenth.high, 0.1744);
  // Newcombe 1998, table I: 81/263, 15/148, 0/20 and 1/29.
  for (const [k, n, low, high] of [[81, 263, 0.2553, 0.3662], [15, 148, 0.0624, 0.1605], [0, 20, 0, 0.1611], [1, 29, 0.0061, 0.1718]] as const) {
    const interval = wilson({ k, n }, 1.959964);
    near(interval.low, low);
    near(interval.high, high);
  }
  assert.deepEqual(wilson({ k: 0, n: 0 }, 2), { low: 0, high: 1 });
});

test("the interval of a difference is that of the published example", () => {
  // Newcombe 1998 (part 2), table II, method 10: 56/70 less 48/80.
  const { low, high } = difference({ k: 56, n: 70 }, { k: 48, n: 80 }, 1.959964);
  near(low, 0.0524);
  near(high, 0.3339);
});

test("a rate differs only when chance hardly explains it", () => {
  assert.equal(compare({ k: 5, n: 19 }, { k: 5, n: 500 }).verdict, "few");
  assert.equal(compare({ k: 12, n: 60 }, { k: 40, n: 300 }).verdict, "same");
  assert.equal(compare({ k: 40, n: 60 }, { k: 40, n: 300 }).verdict, "higher");
  assert.equal(compare({ k: 0, n: 100 }, { k: 90, n: 300 }).verdict, "lower");
  assert.ok(compare({ k: 50, n: 60 }, { k: 40, n: 300 }).evidence > compare({ k: 40, n: 60 }, { k: 40, n: 300 }).evidence);
});

test("of a fleet that did not change hardly any station is called different", () => {
  let state = 1;
  const random = (): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  const draw = (n: number, p: number): { k: number; n: number } => ({ k: Array.from({ length: n }, random).filter((x) => x < p).length, n });
  let differing = 0;
  for (let i = 0; i < 3_000; i += 1) if (compare(draw(120, 0.1), draw(360, 0.1)).verdict !== "same") differing += 1;
  assert.ok(differing <= 12, `${differing} of 3000`);
});

test("abnormal and uncertain are shares of the scored, rejected of all", () => {
  const day = counts({ normal: 6, uncertain: 1, abnormal: 3, rejected: 4, failed: 1 });
  assert.deepEqual(share(day, "abnormal"), { k: 3, n: 10 });
  assert.deepEqual(share(day, "uncertain"), { k: 1, n: 10 });
  assert.deepEqual(share(day, "rejected"), { k: 4, n: 15 });
});

test("scores that moved are told from scores that did not", () => {
  const low = counts({ normal: 300, deciles: [200, 60, 20, 10, 5, 5, 0, 0, 0, 0] });
  const high = counts({ normal: 300, deciles: [0, 0, 0, 0, 5, 5, 10, 20, 60, 200] });
  near(stabilityIndex(low, low) ?? 1, 0);
  assert.ok((stabilityIndex(low, high) ?? 0) > 2);
  assert.equal(stabilityIndex(counts({ normal: 3 }), low), null);
});

test("the last 28 days are those of the universal day, newest first, and split without overlap", () => {
  assert.equal(dayOf(NOW), "2026-03-20");
  assert.deepEqual(lastDays(NOW, 3), ["2026-03-20", "2026-03-19", "2026-03-18"]);
  const byDay = new Map([["2026-03-20", counts({ normal: 1 })], ["2026-03-14", counts({ normal: 2 })], ["2026-03-13", counts({ normal: 4 })], ["2026-01-01", counts({ normal: 8 })]]);
  const parts = split(history(byDay, "page", NOW), 7);
  assert.deepEqual([parts.recent.normal, parts.before.normal], [3, 4]);
});
