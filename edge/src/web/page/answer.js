// The answer to a closed study: the word, how sure, where the model looked, and by what.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { kindOf, views } from "./cards.js";
import { ask } from "./dialog.js";
import { action, attributes, complaint, element } from "./dom.js";
import { live, put } from "./live.js";
import { shape } from "./shapes.js";
import { strip } from "./strip.js";
import { viewer } from "./viewer.js";
import { bodyPart, fill, percent, seconds, when } from "./words.js";

function verdict(study, kind) {
  const { result } = study;
  const heading = attributes(element("h2", "word", TEXT.answers[kind]), { tabindex: "-1" });
  const withheld = result.answer_withheld && TEXT.withheld[result.answer_withheld];
  const node = element(
    "section",
    "verdict " + kind,
    element("span", "sign", shape(kind)),
    element("div", "", heading, element("p", "advice", withheld || TEXT.advice[kind])),
  );
  return { node, heading };
}

/** Whose mean the probability is. */
function mean(all) {
  const counted = all.filter(({ image }) => image.state === "scored").map(({ index }) => index);
  if (counted.length === 1) return fill(TEXT.answer.only, { index: counted[0] });
  if (counted.length === all.length) return fill(TEXT.answer.mean_all, { count: counted.length });
  const views = new Intl.ListFormat(TEXT.lang, { type: "conjunction" }).format(counted.map(String));
  return fill(TEXT.answer.mean_some, { views });
}

/** The probability on a line from 0 to 1, with the limits of the three answers. */
function scale({ probability, operating_points: points }, all) {
  const text = percent(probability);
  const made = element(
    "section",
    "probability",
    element("p", "", TEXT.answer.probability, " ", element("strong", "", text)),
  );
  if (all.length > 1) made.append(element("p", "", mean(all)));
  if (!points) return made;
  const limits = { percent: text, rule_out: percent(points.rule_out), rule_in: percent(points.rule_in) };
  const line = attributes(element("div", "line"), { role: "img", "aria-label": fill(TEXT.answer.scale, limits) });
  for (const [name, share] of [["limit", points.rule_out], ["limit", points.rule_in], ["here", probability]]) {
    const mark = element("span", name);
    mark.style.left = (share * 100).toFixed(2) + "%";
    line.append(mark);
  }
  made.append(line, element("p", "soft", fill(TEXT.answer.points, limits), " ", TEXT.answer.points_source[points.source] || ""));
  return made;
}

function facts(study) {
  const { result } = study;
  const list = element("dl", "facts");
  const fact = (name, ...values) => list.append(element("dt", "", name), element("dd", "", ...values));
  if (result.inference_ms > 0) fact(TEXT.answer.time, seconds(result.inference_ms));
  const purpose = TEXT.answer.purpose[result.model.purpose] || result.model.purpose;
  fact(TEXT.answer.model, fill(TEXT.model.name, result.model) + " (" + purpose + ")");
  // What the running model is meant for says nothing of another one.
  const same = result.model.bundle_sha256 === live.station.model.bundle_sha256;
  fact(TEXT.answer.intended_use, same ? live.station.intended_use : TEXT.answer.other_model);
  if (same) list.lastChild.append(" ", live.station.study_types.map(bodyPart).join(", ") + ".");
  if (study.closed_at) fact(TEXT.answer.closed, when(study.closed_at));
  fact(TEXT.answer.delivery, study.sent ? TEXT.answer.sent : TEXT.answer.unsent);
  return list;
}

/** The part of a closed study. */
export function answer(number) {
  const said = complaint();
  const node = element("div", "answer");
  const part = { node, heading: null, update: () => {}, end: () => {} };
  let drawn = "";
  let list = null;
  const reopen = action(TEXT.study.reopen, "wide", async () => {
    const sure = await ask({
      title: fill(TEXT.study.reopen_title, { number }), text: TEXT.study.reopen_text, yes: TEXT.study.reopen_yes,
    });
    if (sure !== null) put(await api.reopen(number));
  }, said);

  const draw = (study) => {
    const { result } = study;
    const { node: top, heading } = verdict(study, kindOf(study));
    part.heading = heading;
    const all = views(study).map((image, position) => ({ image, index: position + 1 }));
    const pictures = all.length > 0 ? viewer(all, result.model.aspect || live.station.aspect) : null;
    const told = element("div", "told", top, element("p", "notice", result.notice));
    if (result.revision > 1) told.append(element("p", "notes", fill(TEXT.answer.revision, result)));
    if (result.outcome === "failed" && result.reason) told.append(element("p", "notes", fill(TEXT.answer.failed, result)));
    if (all.length > 1) told.append(strip(all, pictures.show));
    list = facts(study);
    const sure = result.probability === null ? null : scale(result, all);
    node.className = pictures ? "answer pictured" : "answer";
    node.replaceChildren(...[told, pictures?.node, sure, element("div", "rest", list, said, reopen)].filter(Boolean));
  };

  part.update = (study) => {
    const sign = JSON.stringify([study.result, study.images]);
    if (sign !== drawn) {
      const focused = node.contains(document.activeElement);
      drawn = sign;
      draw(study);
      if (focused) part.heading.focus();
    } else {
      const fresh = facts(study);
      if (fresh.textContent !== list.textContent) {
        list.replaceWith(fresh);
        list = fresh;
      }
    }
  };
  return part;
}
