// Results on their way out: how many wait, since when and why; and two ways to help: sending refused ones again, and
// carrying all of them away on a stick.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { address } from "./cards.js";
import { ask } from "./dialog.js";
import { action, attributes, complaint, element, keyed, say } from "./dom.js";
import { live } from "./live.js";
import { shape } from "./shapes.js";
import { age, fill, many, mebibytes, when } from "./words.js";

const ROWS_MAX = 50;
const ASK_EVERY_MS = 5000;

/** How it stands, as `[kind, words, what to do, the broker's or network's own words]`. */
function standing({ broker, queue: { unsent, oldest_age_s: oldest } }) {
  if (unsent === 0) return ["good", TEXT.outbox.empty];
  const waiting = oldest === null
    ? many(unsent, TEXT.outbox.one, TEXT.outbox.several)
    : many(unsent, TEXT.outbox.one_since, TEXT.outbox.several_since, { age: age(oldest) });
  if (broker.connected) return ["plain", waiting, TEXT.outbox.going];
  if (!broker.last_error) return ["plain", waiting, TEXT.outbox.connecting];
  return ["warn", waiting, TEXT.outbox.away, broker.last_error];
}

function card(kind, words, todo, why, ...more) {
  const sign = element("span", "sign", shape(kind), element("span", "unseen", TEXT.kinds[kind] + ": "));
  const reason = why ? element("p", "detail", fill(TEXT.outbox.why, { why })) : null;
  return element("li", "standing " + kind, sign, element("div", "", element("p", "word", words), element("p", "", todo), reason), ...more);
}

function row({ number, revision, created_at, attempts, dead, last_error: why }) {
  const kind = dead ? "failed" : "waiting";
  const said = [when(created_at)];
  if (revision > 1) said.push(fill(TEXT.outbox.revision, { revision }));
  const tried = attempts > 0 ? element("span", "soft", many(attempts, TEXT.outbox.tried_one, TEXT.outbox.tried_many)) : null;
  const made = element(
    "a",
    "row " + kind,
    element("span", "sign", shape(kind)),
    element("span", "who", element("span", "number", number || TEXT.outbox.nameless), element("span", "soft", said.join(" \u00b7 "))),
    element("span", "answered", element("span", "word", dead ? TEXT.outbox.refused : TEXT.outbox.waits), tried),
    why ? element("span", "why soft", fill(TEXT.outbox.why, { why })) : null,
  );
  if (number) made.href = address(number);
  return element("li", "", made);
}

/** The sticks that are in, and what became of the last writing. */
function carrying(refresh) {
  const said = complaint();
  const none = attributes(element("p", "soft", TEXT.outbox.no_stick), { role: "status" });
  const buttons = element("ul", "sticks");
  const done = attributes(element("div", "notes"), { role: "status" });
  const write = (stick) => async () => {
    done.replaceChildren();
    const written = await api.carry(stick.path);
    const count = written.seqs.length;
    const delivered = action(TEXT.outbox.delivered, "wide", async () => {
      const sure = await ask({
        title: TEXT.outbox.delivered_title, text: many(count, TEXT.outbox.delivered_text_one, TEXT.outbox.delivered_text), yes: TEXT.outbox.delivered_yes,
      });
      if (sure === null) return;
      await api.delivered(written.seqs);
      done.replaceChildren(element("p", "", TEXT.outbox.delivered_done));
      refresh();
    }, said);
    done.replaceChildren(
      element("p", "", many(count, TEXT.outbox.written_one, TEXT.outbox.written_many)),
      element("p", "detail", fill(TEXT.outbox.written_to, written)),
      delivered,
    );
    say(done.firstChild.textContent);
  };
  const build = (stick) => {
    const name = stick.path.split("/").at(-1);
    const words = fill(stick.read_only ? TEXT.outbox.read_only : TEXT.outbox.write, { name, free: mebibytes(stick.free_mib) });
    if (stick.read_only) return element("li", "soft", words);
    return element("li", "", action(words, "primary wide big", write(stick), said, TEXT.outbox.writing));
  };
  const node = element("section", "table carrying", element("h2", "", TEXT.outbox.carry), element("p", "", TEXT.outbox.carry_why), none, buttons, said, done);
  /** `sticks` are those that are in; where nothing waits there is nothing to carry. */
  const show = (sticks, waiting) => {
    node.hidden = !waiting && done.childElementCount === 0;
    none.hidden = sticks.length > 0;
    keyed(buttons, waiting ? sticks : [], (stick) => stick.path, JSON.stringify, build);
  };
  return { node, show };
}

export function outbox() {
  const heading = attributes(element("h1", "", TEXT.outbox.heading), { tabindex: "-1" });
  const said = complaint();
  const state = attributes(element("ul", "standings"), { role: "status" });
  const list = element("ul", "rows");
  const listed = element("section", "", element("h2", "", TEXT.outbox.rows), list);
  const more = element("p", "soft");
  listed.append(more);
  let rows = [];
  let sticks = [];
  let seen = "";
  const retry = action(TEXT.outbox.retry, "wide", async () => {
    const { revived } = await api.retry();
    say(many(revived, TEXT.outbox.retried_one, TEXT.outbox.retried_many));
    await load();
  }, said);
  const carry = carrying(() => load());

  async function load() {
    try {
      [{ rows }, { sticks }] = await Promise.all([api.outbox(ROWS_MAX), api.sticks()]);
      said.textContent = "";
    } catch (error) {
      // Where nobody answers at all, the band on top says so.
      if (!live.silent) said.textContent = error.message;
      return;
    }
    update();
  }
  function update() {
    if (!live.station) return;
    const { unsent, set_aside: refused } = live.station.queue;
    const cards = refused > 0 && unsent === 0 ? [] : [standing(live.station)];
    if (refused > 0) cards.unshift(["bad", many(refused, TEXT.outbox.refused_one, TEXT.outbox.refused_many), TEXT.outbox.refused_todo, null]);
    keyed(state, cards, ([kind]) => kind, JSON.stringify, (one) => card(...one, one[0] === "bad" ? retry : null));
    listed.hidden = rows.length === 0;
    keyed(list, rows, ({ seq }) => seq, JSON.stringify, row);
    const hidden = unsent + refused - rows.length;
    more.textContent = hidden > 0 ? fill(TEXT.outbox.more, { count: hidden }) : "";
    carry.show(sticks, unsent + refused > 0);
    const sign = [unsent, refused].join();
    if (seen && seen !== sign) load();
    seen = sign;
  }
  load();
  const timer = setInterval(load, ASK_EVERY_MS);
  const back = element("a", "button wide", TEXT.study.back);
  back.href = "#/";
  const node = element("div", "outbox", heading, state, said, carry.node, listed, back);
  return { node, heading, title: TEXT.outbox.heading, update, end: () => clearInterval(timer) };
}
