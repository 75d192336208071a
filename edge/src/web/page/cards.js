// A study in a line, as lists show it.
import { TEXT } from "../text.js";
import { element } from "./dom.js";
import { shape } from "./shapes.js";
import { bodyPart, percent, when } from "./words.js";

/** What a study is now: an answer, an outcome without one, open, or waiting for the model. */
export function kindOf(study) {
  if (study.images.some((image) => image.state === "waiting") || study.closing) return "waiting";
  if (study.open || !study.result) return "open";
  return study.result.outcome === "scored" ? study.result.answer : study.result.outcome;
}

/** The views that count: those that were not dropped. */
export const views = (study) => study.images.filter((image) => image.state !== "dropped");

export const address = (number) => "#/study/" + encodeURIComponent(number);

function row(study) {
  const kind = kindOf(study);
  const probability = !study.open && study.result ? study.result.probability : null;
  const made = element(
    "a",
    "row " + kind,
    element("span", "sign", shape(kind)),
    element(
      "span",
      "who",
      element("span", "number", study.number),
      element("span", "soft", [bodyPart(study.study_type), when(study.opened_at)].join(" \u00b7 ")),
      study.reference ? element("span", "soft", study.reference) : null,
    ),
    element(
      "span",
      "answered",
      element("span", "word", TEXT.answers[kind]),
      probability === null ? null : element("span", "soft", percent(probability)),
    ),
  );
  made.href = address(study.number);
  return made;
}

/** For `keyed`: a list item per study. */
export const studyRows = {
  key: (study) => study.number,
  signature: (study) => {
    const { number, study_type, reference, opened_at, open, result } = study;
    const day = new Date().toDateString();
    return JSON.stringify([number, study_type, reference, opened_at, open, kindOf(study), result?.probability, day]);
  },
  build: (study) => element("li", "", row(study)),
};
