import assert from "node:assert/strict";
import { test } from "node:test";
import { Intake } from "../src/io/intake.ts";

test("messages are taken in order, in slices, and the connection waits when too many wait", async () => {
  const taken: string[] = [];
  let slices = 0;
  let ready = 0;
  let last = (): void => undefined;
  const all = new Promise<void>((done) => { last = done; });
  const intake = new Intake(
    ({ topic }) => {
      taken.push(topic);
      const until = performance.now() + 0.05;
      while (performance.now() < until);
      if (taken.length === 800) last();
    },
    () => { slices += 1; },
  );
  let sent = 0;
  const send = (): void => {
    if (sent === 800) return;
    sent += 1;
    intake.push({ topic: String(sent), payload: new Uint8Array(), retained: false }, () => { ready += 1; send(); });
  };
  send();
  assert.equal(sent, 500, "the five-hundredth is taken, and no further one asked for");
  await all;
  assert.deepEqual(taken, Array.from({ length: 800 }, (_, i) => String(i + 1)));
  assert.ok(slices >= 5, `${slices} slices`);
  assert.equal(ready, 800);
});
