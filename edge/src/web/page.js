// Asks the station for its state once a second and shows it. Text comes from text.js; nothing that the station
// says is ever read as HTML.
"use strict";

const EVERY_MS = 1000;
const ANSWER_WITHIN_MS = 5000;
const SIGNS = {
  normal: "\u2713", abnormal: "\u25B2", uncertain: "?", rejected: "\u2715", failed: "\u2715",
  open: "\u2026", waiting: "\u2026",
};

const byId = (id) => document.getElementById(id);
let shown = "";
let lastAnswer = null;

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const percent = (probability) => (probability * 100).toFixed(1) + " %";

function bytes(count) {
  const gib = count / 2 ** 30;
  return gib >= 10 ? gib.toFixed(0) + " GiB" : gib >= 1 ? gib.toFixed(1) + " GiB" : (gib * 1024).toFixed(0) + " MiB";
}

function age(seconds) {
  if (seconds < 90) return seconds + " s";
  if (seconds < 5400) return Math.round(seconds / 60) + " min";
  if (seconds < 129600) return Math.round(seconds / 3600) + " h";
  return Math.round(seconds / 86400) + " d";
}

const clockTime = (stamp) => new Date(stamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

const words = (name) => name.replaceAll("_", " ").toLowerCase();

function bodyPart(type) {
  if (type === null) return TEXT.type_unknown;
  const plain = words(type.replace("XR_", ""));
  return TEXT.types[type] || plain[0].toUpperCase() + plain.slice(1);
}

function lights(state) {
  const all = [];
  const light = (kind, text, title) => all.push({ kind, text, title });
  const broker = state.broker;
  if (broker.connected) light("good", TEXT.broker.on);
  else light("warn", broker.last_error ? TEXT.broker.off : TEXT.broker.unknown, broker.last_error);

  const { unsent, oldest_age_s: oldest, set_aside: setAside } = state.queue;
  if (unsent === 0) light("good", TEXT.queue.empty);
  else if (oldest === null || oldest < 60) light(broker.connected ? "good" : "warn", fill(TEXT.queue.some, { count: unsent }));
  else light("warn", fill(TEXT.queue.oldest, { count: unsent, age: age(oldest) }));
  if (setAside > 0) light("bad", fill(TEXT.set_aside, { count: setAside }));

  if (state.images_waiting > 0) light("plain", fill(TEXT.scoring, { count: state.images_waiting }));
  const free = bytes(state.disk_free_bytes);
  light(state.disk_low ? "bad" : "good", fill(state.disk_low ? TEXT.disk.low : TEXT.disk.good, { free }));
  const synchronised = state.clock_synchronised;
  light(
    synchronised === null ? "plain" : synchronised ? "good" : "warn",
    synchronised === null ? TEXT.clock.unknown : synchronised ? TEXT.clock.good : TEXT.clock.bad,
  );
  if (state.presence === "degraded") light("bad", fill(TEXT.degraded, { reason: words(state.reason) }));
  light("plain", fill(TEXT.model, state.model), state.model.bundle_sha256);
  return all;
}

function showLights(state) {
  byId("lights").replaceChildren(
    ...lights(state).map(({ kind, text, title }) => {
      const item = element("li", kind, text);
      if (title) item.title = title;
      return item;
    }),
  );
}

function kindOf(study) {
  if (study.views_waiting > 0) return "waiting";
  if (study.open || !study.result) return "open";
  return study.result.outcome === "scored" ? study.result.answer : study.result.outcome;
}

function probabilities(result) {
  const made = element("div", "probabilities");
  if (result.probability !== null) {
    made.append(element("strong", "", fill(TEXT.study_probability, { percent: percent(result.probability) })));
  }
  const scored = result.views.filter((view) => view.probability !== null);
  if (scored.length > 0) {
    const list = scored.map((view) => percent(view.probability)).join(", ");
    made.append(element("div", "", fill(scored.length === 1 ? TEXT.view : TEXT.views, { list })));
  }
  return made;
}

function details(result) {
  const said = [];
  result.views.forEach((view, position) => {
    if (!view.rejected) return;
    const { reason, detail } = view.rejected;
    said.push(fill(TEXT.view_rejected, { index: position + 1, reason: TEXT.rejections[reason] || words(reason), detail }));
  });
  if (result.outcome === "failed" && result.reason) said.push(result.reason);
  return said;
}

function facts(study) {
  const result = study.result;
  const count = study.views_accepted;
  const said = [count === 1 ? TEXT.views_accepted_one : fill(TEXT.views_accepted_many, { count })];
  if (result && result.inference_ms > 0) said.push(fill(TEXT.scored_in, { seconds: (result.inference_ms / 1000).toFixed(1) }));
  if (result && result.revision > 1) said.push(fill(TEXT.revision, result));
  if (result) said.push(study.sent ? TEXT.sent : TEXT.unsent);
  return said.join(" \u00B7 ");
}

function card(study) {
  const kind = kindOf(study);
  const made = element("article", kind);
  const who = element("div");
  who.append(element("div", "number", study.number));
  who.append(element("div", "type", bodyPart(study.study_type) + " \u00B7 " + clockTime(study.opened_at)));
  const what = element("div");
  const answer = element("div", "answer");
  answer.append(element("span", "sign", SIGNS[kind]), TEXT.answers[kind]);
  const result = study.result;
  const withheld = result && kind === "uncertain" && TEXT.withheld[result.answer_withheld];
  what.append(answer, element("div", "advice", withheld || TEXT.advice[kind]));
  const found = element("div");
  const closed = result && !study.open;
  if (closed) found.append(probabilities(result));
  found.append(element("div", "facts", facts(study)));
  made.append(who, what, found);
  for (const said of closed ? details(result) : []) made.append(element("div", "detail", said));
  return made;
}

function showCapture(types) {
  byId("capture").hidden = types === null;
  const select = byId("study_type");
  if (types === null || select.options.length > 0) return;
  select.append(new Option(TEXT.capture.choose, "", true, true));
  for (const type of types) select.append(new Option(bodyPart(type), type));
}

function show(state) {
  document.title = state.station + " \u00B7 " + TEXT.title;
  byId("station").textContent = state.station;
  byId("demonstration").hidden = !state.demonstration;
  showLights(state);
  showCapture(state.capture);
  // Only a change is drawn, so that a screen reader and a scrolled page are left in peace.
  const studies = JSON.stringify(state.studies);
  if (studies === shown) return;
  shown = studies;
  const cards = state.studies.map(card);
  byId("studies").replaceChildren(...(cards.length > 0 ? cards : [element("p", "empty", TEXT.none)]));
}

async function update() {
  try {
    const answer = await fetch("/api/state", { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
    lastAnswer = Date.now();
    byId("silent").hidden = true;
  } catch {
    byId("silent").textContent = fill(TEXT.silent, { time: lastAnswer ? clockTime(lastAnswer) : "\u2013" });
    byId("silent").hidden = false;
  }
  setTimeout(update, EVERY_MS);
}

async function capture(event) {
  event.preventDefault();
  const button = byId("capture_button");
  const said = byId("capture_said");
  button.disabled = true;
  said.textContent = TEXT.capture.asking;
  try {
    const answer = await fetch("/api/capture", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ study_type: byId("study_type").value }),
    });
    const told = await answer.json();
    said.textContent = answer.ok
      ? fill(TEXT.capture.taken, { number: told.study_number })
      : fill(TEXT.capture.failed, { why: told.error });
  } catch (error) {
    said.textContent = fill(TEXT.capture.failed, { why: error.message });
  }
  button.disabled = false;
}

byId("demonstration").textContent = TEXT.demonstration;
byId("notice").textContent = TEXT.notice;
byId("capture_label").textContent = TEXT.capture.label;
byId("capture_button").textContent = TEXT.capture.button;
byId("capture").addEventListener("submit", capture);
update();
