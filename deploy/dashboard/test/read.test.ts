import assert from "node:assert/strict";
import { test } from "node:test";
import { PAYLOAD_MAX_BYTES, read } from "../src/contract/read.ts";
import { parse } from "../src/contract/topics.ts";
import { birth, bytes, health, result, status } from "./made.ts";

const refused = (topic: string, payload: unknown): string => {
  const message = read(topic, payload instanceof Uint8Array ? payload : bytes(payload), false);
  return message.kind === "bad" ? message.reason : `taken as ${message.kind}`;
};

test("topics are taken apart", () => {
  assert.deepEqual(parse("ulna/v1/clinic-1/result"), { version: "v1", station: "clinic-1", kind: "result" });
  for (const other of ["ulna/v1/clinic-1", "ulna/v1/clinic-1/cmd/ping/1", "x/v1/clinic-1/result", "ulna/v1//result", "", "ulna/v1/clinic-1/result/x"]) {
    assert.equal(parse(other), null, other);
  }
});

test("every kind of payload is read", () => {
  const payloads = { status: status(), birth: birth(), health: health(), result: result(1), latest: result(1) };
  for (const [kind, payload] of Object.entries(payloads)) {
    const message = read(`ulna/v1/clinic-1/${kind}`, bytes(payload), true);
    assert.equal(message.kind, kind, JSON.stringify(message));
  }
});

test("fields and reasons that are not known yet do not matter", () => {
  const view = { rejected: { reason: "melted", detail: "x", new_field: 1 } };
  assert.equal(read("ulna/v1/clinic-1/result", bytes(result(1, { views: [view], another: {} })), false).kind, "result");
});

test("an emptied topic says that a station is gone", () => {
  assert.equal(read("ulna/v1/clinic-1/status", new Uint8Array(), false).kind, "gone");
  assert.equal(refused("ulna/v1/clinic-1/result", new Uint8Array()), "not_json");
});

test("bad messages are refused, each for its reason", () => {
  const at = "ulna/v1/clinic-1/result";
  assert.equal(refused("ulna/v2/clinic-1/result", result(1)), "version");
  assert.equal(refused("ulna/v1/clinic-1/else", result(1)), "topic");
  assert.equal(refused(at, "{"), "not_json");
  assert.equal(refused(at, new Uint8Array([0xff, 0xfe])), "not_json");
  assert.equal(refused(at, new Uint8Array(PAYLOAD_MAX_BYTES + 1)), "too_large");
  for (const value of [null, 1, "x", [], {}, { ...result(1), answer: "perhaps" }, { ...result(1), seq: -1 }]) {
    assert.equal(refused(at, JSON.stringify(value)), "schema", JSON.stringify(value));
  }
  assert.equal(refused(at, result(1, { station: "clinic-2" })), "other_station");
  assert.equal(refused(at, result(1, { outbox_id: undefined })), "no_delivery");
  assert.equal(refused(at, result(0)), "number");
  assert.equal(refused(at, JSON.stringify(result(1)).replace('"seq":1', '"seq":18446744073709551615')), "number");
});

test("a tombstone has its place in the sequence", () => {
  const tombstone = { station: "clinic-1", outbox_id: "a1", seq: 2, oldest_unsent_seq: 2, reason: "purged", may_follow: false, study: null, detail: null, at: "2026-03-20T11:59:00Z" };
  assert.equal(read("ulna/v1/clinic-1/tombstone", bytes(tombstone), false).kind, "tombstone");
  for (const change of [{ seq: "2" }, { outbox_id: 1 }, { seq: null }]) assert.match(refused("ulna/v1/clinic-1/tombstone", { ...tombstone, ...change }), /schema|no_delivery/);
  assert.match(refused("ulna/v1/clinic-1/tombstone", "null"), /schema|no_delivery/);
});

test("what is wrong is said without the payload's words", () => {
  const message = read("ulna/v1/clinic-1/result", bytes(result(1, { answer: "Jane Doe" })), false);
  assert.ok(message.kind === "bad" && message.detail.startsWith("/answer") && !message.detail.includes("Jane"), JSON.stringify(message));
});
