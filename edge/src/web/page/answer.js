// The answer to a closed study: the word, how sure, where the model looked, and by what.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { kindOf, views } from "./cards.js";
import { ask } from "./dialog.js";
import { action, attributes, complaint, element } from "./dom.js";
import { live, put } from "./live.js";
import { shape } from "./shapes.js";
import { viewer } from "./viewer.js";
import { thumbnail, whyNot } from "./views.js";
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

/** The probability on a line from 0 to 1, with the limits of the three answers. */
function scale({ probability, operating_points: points }) {
  const text = percent(probability);
  const made = element("section", "probability", element("p", "", TEXT.answer.probability, " ", element("strong", "", text)));
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

function unusable(study) {
  const rejected = views(study).map((image, position) => [image, position + 1]).filter(([image]) => image.rejected);
  if (rejected.length === 0) return null;
  const items = rejected.map(([image, index]) => {
    const words = element("div", "words", element("h3", "", fill(TEXT.view.name, { index })), ...whyNot(image.rejected));
    return element("li", "view rejected", thumbnail(image, index), words);
  });
  return element("section", "", element("h2", "", TEXT.answer.unusable), element("ul", "views", ...items));
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
    const scored = views(study).map((image, position) => ({ image, index: position + 1 })).filter(({ image }) => image.state === "scored");
    const told = element("div", "told", top, element("p", "notice", result.notice));
    if (result.revision > 1) told.append(element("p", "notes", fill(TEXT.answer.revision, result)));
    if (result.probability !== null) told.append(scale(result));
    if (result.outcome === "failed" && result.reason) told.append(element("p", "notes", fill(TEXT.answer.failed, result)));
    const pictures = scored.length > 0 ? viewer(scored, live.station.aspect) : null;
    list = facts(study);
    const rest = element("div", "rest", ...[unusable(study)].filter(Boolean), list, said, reopen);
    node.className = pictures ? "answer pictured" : "answer";
    node.replaceChildren(told, ...(pictures ? [pictures] : []), rest);
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
