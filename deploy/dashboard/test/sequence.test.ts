import assert from "node:assert/strict";
import { test } from "node:test";
import { add, bound, count, has, holes, type Range } from "../src/fleet/ranges.ts";
import { ACKED_SETTLES_MS, acknowledge, gaps, interrupt, observe, type Outbox, settle } from "../src/fleet/sequence.ts";

test("ranges are the set they stand for, whatever comes in whatever order", () => {
  let state = 7;
  const random = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state % below;
  };
  for (let round = 0; round < 200; round += 1) {
    const ranges: Range[] = [];
    const model = new Set<number>();
    for (let i = 0; i < 30; i += 1) {
      const first = random(60);
      const last = first + random(4);
      add(ranges, first, last);
      for (let n = first; n <= last; n += 1) model.add(n);
    }
    assert.equal(count(ranges), model.size);
    for (let n = -1; n < 70; n += 1) assert.equal(has(ranges, n), model.has(n), `${n} in ${JSON.stringify(ranges)}`);
    const missing = holes([ranges], 5, 50).flatMap(([a, b]) => Array.from({ length: b - a + 1 }, (_, i) => a + i));
    assert.deepEqual(missing, Array.from({ length: 46 }, (_, i) => i + 5).filter((n) => !model.has(n)));
    assert.ok(ranges.every(([a, b], i) => a <= b && (i === 0 || a > (ranges[i - 1] as Range)[1] + 1)), JSON.stringify(ranges));
  }
});

test("a set is kept small by closing its lowest gaps", () => {
  const ranges: Range[] = [[1, 1], [3, 3], [9, 9]];
  assert.deepEqual(bound(ranges, 2), [[2, 2]]);
  assert.deepEqual(ranges, [[1, 3], [9, 9]]);
});

/** Plays messages `[seq, oldestUnsent]` into a sequence. */
function play(messages: [number, number][], known?: Outbox, retained = false): Outbox {
  let outbox = known;
  for (const [seq, oldestUnsent] of messages) {
    outbox = observe(outbox, { station: "s", outboxId: "a", seq, oldestUnsent, retained }, 1000).outbox;
  }
  assert.ok(outbox);
  return outbox;
}

test("what was sent before the page watched is not missing", () => {
  assert.deepEqual(gaps(play([[500, 500], [501, 501]])), { missing: [], late: [] });
});

test("abnormal before normal is late, not missing, and closes", () => {
  const outbox = play([[100, 50], [90, 50]]);
  assert.deepEqual(gaps(outbox), { missing: [], late: [[50, 89], [91, 99]] });
  play(Array.from({ length: 50 }, (_, i): [number, number] => [50 + i, 50 + i]), outbox);
  assert.deepEqual(gaps(outbox), { missing: [], late: [] });
  assert.equal(outbox.repeats, 1);
});

test("a number below the oldest unsent one that never came is missing until it comes", () => {
  const outbox = play([[1, 1], [2, 2], [5, 5]]);
  assert.deepEqual(gaps(outbox), { missing: [[3, 4]], late: [] });
  play([[3, 5]], outbox);
  assert.deepEqual(gaps(outbox), { missing: [[4, 4]], late: [] });
  observe(outbox, { station: "s", outboxId: "a", seq: 4, oldestUnsent: 5, retained: false, tombstone: true }, 1000);
  assert.deepEqual([gaps(outbox).missing, outbox.dropped], [[], [[4, 4]]], "a tombstone explains a hole");
  assert.ok(observe(outbox, { station: "s", outboxId: "a", seq: 4, oldestUnsent: 5, retained: false }, 1000).fresh, "and is no result");
});

test("a repeat is known by its number, and one the broker had kept is not counted as sent again", () => {
  const outbox = play([[1, 1], [1, 1], [1, 2]]);
  assert.equal(outbox.repeats, 2);
  assert.equal(play([[1, 1]], outbox, true).repeats, 2);
  play([[2, 2]], outbox, true);
  assert.equal(play([[2, 2]], outbox).repeats, 2, "a result that comes after its copy");
  assert.equal(play([[2, 2]], outbox).repeats, 3);
});

test("the newest result that the broker keeps begins the watch where it stands", () => {
  const outbox = play([[70, 40]], undefined, true);
  assert.deepEqual(gaps(outbox), { missing: [], late: [] });
  play([[71, 71]], outbox);
  assert.deepEqual(gaps(outbox), { missing: [], late: [] });
});

test("nothing is called missing of a time when nobody watched", () => {
  const outbox = play([[1, 1], [3, 3], [6, 4]]);
  interrupt(outbox);
  play([[20, 18]], outbox);
  assert.deepEqual(gaps(outbox), { missing: [[2, 2]], late: [[18, 19]] }, "what was missing before stays so");
  play([[21, 21]], outbox);
  assert.deepEqual(gaps(outbox).missing, [[2, 2], [18, 19]]);
});

test("what health says was acknowledged counts after a while", () => {
  let outbox: Outbox = play([[1, 1]]);
  outbox = acknowledge(outbox, "s", "a", 4, false, 5_000);
  assert.deepEqual(gaps(outbox).missing, []);
  assert.equal(settle(outbox, 5_000 + ACKED_SETTLES_MS - 1), false);
  assert.equal(settle(outbox, 5_000 + ACKED_SETTLES_MS), true);
  assert.deepEqual(gaps(outbox).missing, [[2, 4]]);
  const kept = acknowledge(undefined, "s", "b", 9, true, 0);
  assert.deepEqual(gaps(play([[11, 11]], kept)).missing, [[10, 10]]);
});

test("numbers that are very far apart cost nothing", () => {
  const outbox = play([[1, 1], [2 ** 53 - 1, 2]]);
  assert.deepEqual(gaps(outbox).late, [[2, 2 ** 53 - 2]]);
});
