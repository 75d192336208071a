// The station's local API.
import { TEXT } from "../text.js";
import { fill } from "./words.js";

export const API = "/api/v1";
const ANSWER_MAX_MS = 15000;
/** A camera averages several frames, a large file is slow to write. */
const IMAGE_MAX_MS = 120000;
/** A stick is slower still, and everything on it is read back. */
const STICK_MAX_MS = 900000;

/** Asks; what is wrong comes as an error in the station's words. */
async function ask(method, path, { json, bytes, timeout_ms = ANSWER_MAX_MS } = {}) {
  const request = { method, signal: AbortSignal.timeout(timeout_ms) };
  if (json !== undefined) {
    request.headers = { "content-type": "application/json" };
    request.body = JSON.stringify(json);
  } else if (bytes !== undefined) {
    request.headers = { "content-type": "application/octet-stream" };
    request.body = bytes;
  }
  let answer;
  try {
    answer = await fetch(API + path, request);
  } catch {
    throw new Error(TEXT.errors.silent);
  }
  if (!answer.ok) throw await problem(answer);
  return answer;
}

async function problem(answer) {
  const told = await answer.json().catch(() => ({}));
  const error = new Error(told.detail ? sentence(told.detail) : fill(TEXT.errors.odd, { status: answer.status }));
  error.status = answer.status;
  return error;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const study = (number) => "/studies/" + encodeURIComponent(number);
const image = (id) => "/images/" + encodeURIComponent(id);
const read = (path, options) => ask("GET", path, options).then((answer) => answer.json());
const post = (path, options) => ask("POST", path, options).then((answer) => answer.json());
const replacing = (id) => (id ? "?replaces=" + encodeURIComponent(id) : "");

export const api = {
  station: (timeout_ms) => read("/station", { timeout_ms }),
  settings: () => read("/settings"),
  description: () => read("/openapi.json"),
  studies: (query) => read("/studies?" + new URLSearchParams(query)),
  study: (number) => read(study(number)),
  open: (study_type, reference) => post("/studies", { json: { study_type, reference } }),
  capture: (number, replaces) =>
    post(study(number) + "/capture", { json: replaces ? { replaces } : {}, timeout_ms: IMAGE_MAX_MS }),
  add: (number, file, replaces) =>
    post(study(number) + "/images" + replacing(replaces), { bytes: file, timeout_ms: IMAGE_MAX_MS }),
  close: (number) => post(study(number) + "/close"),
  reopen: (number) => post(study(number) + "/reopen"),
  discard: (number) => ask("DELETE", study(number)),
  drop: (id) => post(image(id) + "/drop"),
  overrule: (id, initials) => post(image(id) + "/overrule", { json: { initials } }),
  outbox: (limit) => read("/outbox?limit=" + limit),
  retry: () => post("/outbox/retry"),
  sticks: () => read("/outbox/sticks"),
  carry: (to) => post("/outbox/carry", { json: { to }, timeout_ms: STICK_MAX_MS }),
  delivered: (seqs) => post("/outbox/delivered", { json: { seqs } }),
  preview: () => ask("GET", "/preview").then((answer) => answer.blob()),
  picture: (id, max_px) => API + image(id) + "/picture?max_px=" + max_px,
};
