import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, read } from "../src/contract/read.ts";
import { Fleet } from "../src/fleet/fleet.ts";
import { CONFIRM_MS, STALE_MS } from "../src/fleet/presence.ts";
import { gaps } from "../src/fleet/sequence.ts";
import { STUDY_DAYS_MAX } from "../src/fleet/studies.ts";
import { verdict } from "../src/fleet/study.ts";
import { warnings } from "../src/fleet/warnings.ts";
import { birth, bytes, health, NOW, result, status } from "./made.ts";

const send = (fleet: Fleet, kind: string, payload: unknown, now = NOW, retained = false): void =>
  fleet.take(read(`ulna/v1/clinic-1/${kind}`, bytes(payload), retained), now);

const presence = (fleet: Fleet, now: number): string => {
  const station = fleet.stations.get("clinic-1");
  return station ? fleet.presence(station, now) : "none";
};

test("a station is online, stale, lost by its will, or gone", () => {
  const fleet = new Fleet();
  fleet.listen(false, NOW);
  send(fleet, "birth", birth());
  assert.equal(presence(fleet, NOW), "unknown");
  send(fleet, "status", status(), NOW, true);
  assert.equal(presence(fleet, NOW + STALE_MS), "online");
  assert.equal(presence(fleet, NOW + STALE_MS + 1), "stale");
  send(fleet, "health", health(), NOW + STALE_MS);
  assert.equal(presence(fleet, NOW + STALE_MS + 1), "online");
  send(fleet, "status", status({ status: "degraded", reason: "disk_full" }), NOW + STALE_MS);
  assert.equal(presence(fleet, NOW + STALE_MS), "degraded");
  send(fleet, "status", status({ status: "offline", reason: "connection_lost", at: null }), NOW + STALE_MS + 5);
  assert.equal(presence(fleet, NOW + STALE_MS + 5), "lost");
  assert.equal(fleet.stations.get("clinic-1")?.heardAt, NOW + STALE_MS, "a will says nothing of the station's being there");
  send(fleet, "status", status({ status: "offline", reason: "clean_stop" }));
  assert.equal(presence(fleet, NOW), "offline");
  fleet.take(read("ulna/v1/clinic-1/status", new Uint8Array(), false), NOW);
  assert.equal(presence(fleet, NOW), "none");
  assert.ok(fleet.takeChanges().stationsGone.has("clinic-1"));
});

test("a status of an earlier visit that the broker does not confirm is not believed", () => {
  const fleet = new Fleet();
  fleet.restore({
    stations: [{ name: "clinic-1", status: status() as never, statusAt: NOW - 1, birth: null, health: null, heardAt: NOW - 1 }], outboxes: [], studies: [],
  });
  assert.equal(presence(fleet, NOW), "online", "not connected: what was last known");
  fleet.listen(true, NOW);
  assert.equal(presence(fleet, NOW + CONFIRM_MS + 1), "unknown");
  send(fleet, "status", status(), NOW + 100, true);
  assert.equal(presence(fleet, NOW + CONFIRM_MS + 1), "online");
});

test("a repeat is one study, a higher revision replaces a lower one, a lower one that comes late does not", () => {
  const fleet = new Fleet();
  const counted = (): unknown => {
    const { normal, abnormal } = fleet.history("clinic-1", NOW).days[0]?.counts ?? {};
    return { normal, abnormal };
  };
  send(fleet, "result", result(1, {}, { key: "k" }));
  send(fleet, "result", result(1, {}, { key: "k" }));
  send(fleet, "latest", result(1, {}, { key: "k" }));
  const outbox = [...fleet.outboxes.values()][0];
  assert.deepEqual([fleet.studies.list.length, outbox?.repeats], [1, 1]);
  assert.deepEqual(counted(), { normal: 1, abnormal: 0 });
  send(fleet, "result", result(3, { answer: "abnormal" }, { key: "k", revision: 3 }));
  send(fleet, "result", result(2, {}, { key: "k", revision: 2 }));
  assert.deepEqual(fleet.studies.list.map(({ revision }) => revision), [3]);
  assert.deepEqual(counted(), { normal: 0, abnormal: 1 });
  assert.ok(outbox && gaps(outbox).missing.length === 0, "a superseded revision still fills its place");
  const changes = fleet.takeChanges();
  assert.deepEqual(changes.studies.map(({ seq }) => seq), [1, 3]);
  assert.deepEqual(changes.studiesGone.map(({ seq }) => seq), [1]);
});

test("the same numbers from another outbox or station are other studies", () => {
  const fleet = new Fleet();
  for (const change of [{}, { outbox_id: "b2" }]) send(fleet, "result", result(1, change, { key: null }));
  fleet.take(read("ulna/v1/clinic-2/result", bytes(result(1, { station: "clinic-2" })), false), NOW);
  assert.equal(fleet.studies.list.length, 3);
  assert.equal(fleet.outboxes.size, 3);
});

test("what is counted is the day of closing by a clock that was right, else the day of arrival", () => {
  const fleet = new Fleet();
  send(fleet, "result", result(1, {}, { closed_at: "2026-03-18T10:00:00Z" }));
  send(fleet, "result", result(2, { clock_synchronised: false }, { closed_at: "1970-01-01T10:00:00Z" }));
  send(fleet, "result", result(3, { outcome: "rejected", answer: null, reason: "no usable view" }, { probability: null }));
  const { days, source } = fleet.history("clinic-1", NOW);
  assert.equal(source, "page");
  assert.deepEqual(days.slice(0, 3).map(({ counts }) => counts.normal + counts.rejected), [2, 0, 1]);
  assert.deepEqual(days[2]?.counts.deciles.slice(0, 3), [0, 1, 0]);
});

test("old studies go, with what was counted of them", () => {
  const fleet = new Fleet();
  send(fleet, "result", result(1));
  fleet.takeChanges();
  fleet.prune(NOW + STUDY_DAYS_MAX * 86_400_000 - 1);
  assert.equal(fleet.studies.list.length, 1);
  fleet.prune(NOW + STUDY_DAYS_MAX * 86_400_000 + 1);
  assert.equal(fleet.studies.list.length, 0);
  const changes = fleet.takeChanges();
  assert.deepEqual([changes.studiesGone.length, changes.outboxesGone.size], [1, 1]);
});

test("what a station counted itself goes before what this page counted, and a tombstone is no study", () => {
  const fleet = new Fleet();
  send(fleet, "birth", birth());
  send(fleet, "result", result(1));
  send(fleet, "tombstone", { station: "clinic-1", outbox_id: "a1", seq: 2, oldest_unsent_seq: 2, reason: "purged", may_follow: false, at: "2026-03-20T11:59:00Z" });
  assert.equal(fleet.studies.list.length, 1);
  const day = { day: "2026-03-20", normal: 40, uncertain: 3, abnormal: 7, withheld: 1, rejected: 2, failed: 0, score_deciles: [40, 0, 0, 3, 0, 0, 0, 0, 0, 7] };
  send(fleet, "health", health({ days: [day], seq_acked_through: 2 }));
  const { days, source } = fleet.history("clinic-1", NOW);
  assert.equal(source, "station");
  assert.deepEqual([days[0]?.counts.abnormal, days[0]?.counts.deciles[9], days[1]?.counts.normal], [7, 7, 0]);
});

test("counts that are none are left out", () => {
  for (const days of ["x", [null, 1, { day: 3 }, { day: "2026-03-20", score_deciles: ["a"] }, { day: "2026-03-20", score_deciles: Array(10).fill(0), normal: -1, abnormal: 1e99 }]]) {
    const fleet = new Fleet();
    fleet.take({ kind: "health", station: "clinic-1", retained: true, payload: health({ days }) as never }, NOW);
    assert.equal(fleet.history("clinic-1", NOW).days[0]?.counts.abnormal, 0);
  }
});

test("bad messages are counted by reason, and the newest are shown", () => {
  const fleet = new Fleet();
  for (let i = 0; i < 300; i += 1) send(fleet, "result", `{ ${i}`);
  fleet.take(read("ulna/v9/clinic-1/result", bytes("{}"), false), NOW);
  assert.deepEqual([...fleet.bad.counts], [["not_json", 300], ["version", 1]]);
  assert.equal(fleet.bad.last.length, 100);
  assert.equal(fleet.bad.last[0]?.reason, "version");
  assert.equal(fleet.stations.size, 0);
});

test("health's figures become warnings, gravest first", () => {
  const found = (change: Record<string, unknown>): unknown => warnings(health(change) as never);
  assert.deepEqual(found({}), []);
  assert.deepEqual(found({ disk_free_bytes: 1e6, outbox_dead: 2, temperature_c: 91, clock_synchronised: false }), ["disk_full", "dead_letters", "hot", "clock"]);
  assert.deepEqual(found({ temperature_c: null, clock_synchronised: null, outbox_oldest_age_s: 7_200, images_waiting: 30, disk_free_bytes: 1e9 }), ["disk_low", "queue_old", "images_waiting"]);
});

test("a scored result whose answer is missing is not called normal", () => {
  const fleet = new Fleet();
  send(fleet, "result", result(1, { answer: null }));
  assert.deepEqual(fleet.studies.list.map(verdict), ["failed"]);
});

test("ten thousand results are taken in well below a second", () => {
  const fleet = new Fleet();
  const messages: Message[] = [];
  for (let i = 1; i <= 10_000; i += 1) messages.push(read("ulna/v1/clinic-1/result", bytes(result(i)), false) as Message);
  const started = performance.now();
  for (const message of messages) fleet.take(message, NOW);
  assert.ok(performance.now() - started < 1_000, `${performance.now() - started} ms`);
});
