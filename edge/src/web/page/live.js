// What the page knows of the station. Events keep it new; a question every few seconds shows whether anybody
// answers at all, since a connection that hangs looks like one without news.
import { API, api } from "./api.js";

const ASK_EVERY_MS = 5000;
const ANSWER_WITHIN_MS = 4000;
const CONNECT_AGAIN_MS = 1000;
/** After a new connection, studies that were not told of are gone. */
const TOLD_WITHIN_MS = 1500;
const STUDIES_MAX = 200;

export const live = {
  station: null,
  /** By number. */
  studies: new Map(),
  /** Whether the service does not answer. */
  silent: false,
  /** When it last did. */
  answered: null,
};

const listeners = new Set();
let source = null;
let untold = new Set();
let drawing = false;

/** Calls `listener` after every change, at most once per turn; gives what ends that. */
export function watch(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => {
    drawing = false;
    for (const listener of listeners) listener();
  }, 0);
}

/** Takes a study as an answer gave it. */
export function put(study) {
  untold.delete(study.number);
  live.studies.set(study.number, study);
  if (live.studies.size > STUDIES_MAX) live.studies.delete(newest().at(-1).number);
  changed();
}

export function forget(number) {
  live.studies.delete(number);
  changed();
}

/** The newest first. */
export function newest() {
  const time = (study) => Date.parse(study.opened_at);
  return [...live.studies.values()].sort((one, other) => time(other) - time(one) || (one.number < other.number ? 1 : -1));
}

function heard() {
  live.answered = new Date();
  if (live.silent) live.silent = false;
}

function connect() {
  source?.close();
  source = new EventSource(API + "/events");
  const mine = source;
  source.addEventListener("open", () => {
    heard();
    untold = new Set(live.studies.keys());
    setTimeout(() => {
      if (mine !== source) return;
      for (const number of untold) live.studies.delete(number);
      untold.clear();
      changed();
    }, TOLD_WITHIN_MS);
    changed();
  });
  source.addEventListener("error", () => {
    mine.close();
    if (mine !== source) return;
    source = null;
    question();
    setTimeout(() => { if (source === null) connect(); }, CONNECT_AGAIN_MS);
  });
  const told = (name, take) => source.addEventListener(name, (event) => {
    heard();
    take(JSON.parse(event.data));
    changed();
  });
  told("station", (station) => { live.station = station; });
  told("study", put);
  told("removed", ({ number }) => live.studies.delete(number));
}

async function question() {
  const wasSilent = live.silent;
  try {
    live.station = await api.station(ANSWER_WITHIN_MS);
    heard();
    if (wasSilent) connect();
    // Where there are more pages than the station tells of changes, this one asks.
    if (source === null) for (const study of (await api.studies({ limit: 50 })).studies) put(study);
  } catch {
    live.silent = true;
  }
  changed();
}

export function start() {
  connect();
  question();
  setInterval(question, ASK_EVERY_MS);
}
