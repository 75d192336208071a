// States as a shape and a word, never a colour alone.
import type { Presence } from "../fleet/presence.ts";
import type { Verdict } from "../fleet/study.ts";
import { WORDS } from "../words.ts";
import { element, shape } from "./dom.ts";
import { answer } from "./format.ts";

const CIRCLE = "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13z";
const TRIANGLE = "M8 1 15.2 14.5H.8z";
const DIAMOND = "M8 .8 15.2 8 8 15.2.8 8z";
const SQUARE = "M2 2h12v12H2z";
const RING = `${CIRCLE}M8 4.2a3.8 3.8 0 1 1 0 7.6a3.8 3.8 0 1 1 0-7.6z`;
const CROSS = "M3.2 1 8 5.8 12.8 1 15 3.2 10.2 8 15 12.8 12.8 15 8 10.2 3.2 15 1 12.8 5.8 8 1 3.2z";

const ANSWERS: Record<Verdict, [path: string, tone: string]> = {
  abnormal: [TRIANGLE, "bad"], uncertain: [DIAMOND, "mind"], normal: [CIRCLE, "good"], rejected: [SQUARE, "quiet"], failed: [CROSS, "bad"],
};
const PRESENCES: Record<Presence, [path: string, tone: string]> = {
  online: [CIRCLE, "good"], degraded: [DIAMOND, "mind"], stale: [TRIANGLE, "mind"], offline: [RING, "quiet"], lost: [CROSS, "bad"],
  unknown: [RING, "quiet"],
};

function mark([path, tone]: [string, string], text: string): HTMLElement {
  const icon = shape("svg", { class: "shape", viewBox: "0 0 16 16", "aria-hidden": "true" }, shape("path", { d: path, "fill-rule": "evenodd" }));
  return element("span", `mark ${tone}`, icon, element("span", "", text));
}

export const answerMark = (verdict: Verdict): HTMLElement => mark(ANSWERS[verdict], answer(verdict));

export const presenceMark = (presence: Presence): HTMLElement => mark(PRESENCES[presence], WORDS.presence[presence]);

export const warningMark = (text: string): HTMLElement => element("span", "warning", text);
