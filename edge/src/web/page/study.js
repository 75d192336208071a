// One study: taken while it is open, answered once it is closed.
import { TEXT } from "../text.js";
import { answer } from "./answer.js";
import { api } from "./api.js";
import { kindOf, views } from "./cards.js";
import { ask } from "./dialog.js";
import { action, attributes, complaint, element, filePicker, say } from "./dom.js";
import { forget, live, put } from "./live.js";
import { preview } from "./preview.js";
import { sayChanges, showViews } from "./views.js";
import { bodyPart, fill, many, when } from "./words.js";

/** An old study is not among those whose changes are told. */
const ASK_EVERY_MS = 3000;

export function study(number) {
  const heading = attributes(element("h1", "", number), { tabindex: "-1", "aria-label": fill(TEXT.study.heading, { number }) });
  const facts = element("p", "soft");
  const body = element("div", "body", element("p", "empty", TEXT.study.loading));
  const node = element("div", "study", element("header", "", heading, facts), body);
  let part = null;
  let before = null;

  const load = () => api.study(number).then(put, (error) => {
    if (error.status !== 404) return;
    const back = element("a", "button wide", TEXT.study.back);
    back.href = "#/";
    body.replaceChildren(element("p", "empty", fill(TEXT.study.missing, { number })), back);
  });

  const update = () => {
    const now = live.studies.get(number);
    if (!now || !live.station) return;
    const said = [bodyPart(now.study_type), fill(TEXT.study.opened, { time: when(now.opened_at) })];
    if (now.reference) said.push(fill(TEXT.study.reference, now));
    if (now.origin) said.push(fill(TEXT.study.origin, { origin: now.origin.replace(/\/$/, "") }));
    facts.textContent = said.join(" \u00b7 ");
    const mode = now.open || !now.result ? "open" : "answered";
    if (part?.mode !== mode) {
      part?.end();
      const held = node.contains(document.activeElement) && document.activeElement !== heading;
      part = mode === "open" ? taking(number) : answer(number);
      part.mode = mode;
      body.replaceChildren(part.node);
      part.update(now);
      if (held && part.heading) part.heading.focus();
      if (mode === "answered" && before) say(fill(TEXT.said.answer, { answer: TEXT.answers[kindOf(now)] }));
    } else {
      part.update(now);
    }
    sayChanges(before, now);
    before = now;
  };

  load();
  const timer = setInterval(() => { if (!live.silent && before?.open !== false) load(); }, ASK_EVERY_MS);
  update();
  const end = () => {
    clearInterval(timer);
    part?.end();
  };
  return { node, heading, title: number, update, end };
}

/** The part of an open study: camera or files, its views, and closing it. */
function taking(number) {
  const said = complaint();
  const notes = attributes(element("div", "notes"), { role: "status" });
  const heading = attributes(element("h2", "", TEXT.study.views), { tabindex: "-1" });
  const list = element("ul", "views");
  const none = element("p", "empty", TEXT.study.no_views);
  const look = live.station.camera ? preview() : null;
  const withCamera = async (work) => {
    look?.hold(true);
    try { await work(); } finally { look?.hold(false); }
  };
  const refresh = () => api.study(number).then(put);
  const take = look && action(TEXT.study.take, "primary big take", () => withCamera(async () => {
    await api.capture(number);
    await refresh();
  }), said, TEXT.study.take_busy);
  const add = filePicker(TEXT.study.add, look ? "big" : "primary big", (file) => api.add(number, file).then(refresh), said, TEXT.study.add_busy);
  const close = action(TEXT.study.close, "big strong", () => api.close(number).then(put), said, TEXT.study.close_busy);
  const discard = action(TEXT.study.discard, "big", async () => {
    const sure = await ask({
      title: fill(TEXT.study.discard_title, { number }), text: TEXT.study.discard_text, yes: TEXT.study.discard_yes, grave: true,
    });
    if (sure === null) return;
    await api.discard(number);
    forget(number);
    location.hash = "#/";
  }, said);
  const bar = element("div", "bar", take, add, discard, close);
  const seen = element("section", "seen", notes, heading, none, list);
  const node = element("div", look ? "taking camera" : "taking", look?.node, seen, said, bar);

  const update = (study) => {
    const focused = document.activeElement;
    const held = node.contains(focused);
    const counted = views(study).length;
    const full = counted >= live.station.views_max;
    showNotes(notes, study, full);
    none.hidden = counted > 0;
    add.hidden = study.closing || full;
    if (take) take.hidden = study.closing || full;
    close.hidden = study.closing || counted === 0;
    discard.hidden = study.images.length > 0 || study.revision > 0;
    showViews(list, study, withCamera);
    // A control that goes takes the focus with it, and whoever uses the keyboard would begin from the top.
    if (held && !(focused.isConnected && focused.checkVisibility())) heading.focus();
  };
  return { node, heading, update, end: () => look?.end() };
}

function showNotes(notes, study, full) {
  const said = [];
  const waiting = study.images.filter((image) => image.state === "waiting").length;
  const dropped = study.images.length - views(study).length;
  if (study.closing) said.push(fill(TEXT.study.closing, { count: waiting }));
  else if (study.revision > 0) said.push(fill(TEXT.study.reopened, { revision: study.revision + 1 }));
  if (full) said.push(fill(TEXT.study.full, { count: views(study).length }));
  if (!study.by_hand && !study.closing) said.push(TEXT.study.by_itself);
  if (dropped > 0) said.push(many(dropped, TEXT.study.dropped_one, TEXT.study.dropped_many));
  if (notes.textContent !== said.join("")) notes.replaceChildren(...said.map((text) => element("p", "", text)));
}
