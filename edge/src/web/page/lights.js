// How the station is, in lights: each a shape, a name, a word, and what to do where something is wrong.
import { TEXT } from "../text.js";
import { element } from "./dom.js";
import { shape } from "./shapes.js";
import { age, fill, mebibytes } from "./words.js";

const GRAVITY = ["bad", "warn", "good", "plain"];
/** A board's processor slows down from about 80 degrees on, and switches itself off near 100. */
const HOT_C = 75;
const TOO_HOT_C = 85;
const OLD_RESULT_S = 60;

function service(station) {
  if (station.presence === "degraded") {
    const trouble = TEXT.station.troubles[station.reason];
    const reason = station.reason.replaceAll("_", " ");
    return ["bad", TEXT.station.wrong, trouble || fill(TEXT.station.trouble_else, { reason })];
  }
  if (station.images_waiting > 0) return ["good", fill(TEXT.station.scoring, { count: station.images_waiting })];
  return ["good", TEXT.station.good];
}

function broker({ broker: { connected, last_error } }) {
  if (connected) return ["good", TEXT.broker.on];
  return last_error ? ["warn", TEXT.broker.off, TEXT.broker.off_todo] : ["plain", TEXT.broker.unknown];
}

function queue({ queue: { unsent, oldest_age_s, set_aside } }) {
  if (set_aside > 0) return ["bad", fill(TEXT.queue.refused, { count: set_aside }), TEXT.queue.refused_todo];
  if (unsent === 0) return ["good", TEXT.queue.empty];
  if (oldest_age_s === null || oldest_age_s < OLD_RESULT_S) return ["good", fill(TEXT.queue.some, { count: unsent })];
  return ["warn", fill(TEXT.queue.oldest, { count: unsent, age: age(oldest_age_s) }), TEXT.queue.todo];
}

function disk({ disk_free_mib, disk_low }) {
  const free = mebibytes(disk_free_mib);
  return disk_low ? ["bad", fill(TEXT.disk.low, { free }), TEXT.disk.todo] : ["good", fill(TEXT.disk.good, { free })];
}

function clock({ clock_synchronised }) {
  if (clock_synchronised === null) return ["plain", TEXT.clock.unknown];
  return clock_synchronised ? ["good", TEXT.clock.good] : ["warn", TEXT.clock.bad, TEXT.clock.todo];
}

function model({ model, demonstration }) {
  const name = fill(TEXT.model.name, model);
  // What follows from it stands in the band on top.
  return demonstration ? ["warn", fill(TEXT.model.demonstration, { name })] : ["good", name];
}

function temperature({ temperature_c }) {
  if (temperature_c === null) return ["plain", TEXT.temperature.none];
  const value = fill(TEXT.temperature.value, { degrees: temperature_c.toFixed(0) });
  if (temperature_c >= TOO_HOT_C) return ["bad", value, TEXT.temperature.too_hot_todo];
  return temperature_c >= HOT_C ? ["warn", value, TEXT.temperature.hot_todo] : ["good", value];
}

function camera({ camera, camera_trouble }) {
  if (camera_trouble) return ["bad", TEXT.camera.bad, fill(TEXT.camera.todo, { why: camera_trouble })];
  return camera ? ["good", TEXT.camera.good] : ["plain", TEXT.camera.none];
}

/** Where there is more to be seen. */
const SCREENS = { queue: "#/outbox" };

const LIGHTS = { station: service, broker, queue, disk, clock, camera, model, temperature };

/** All lights, the gravest first. */
export function lights(station) {
  const all = Object.entries(LIGHTS).map(([name, tell]) => {
    const [kind, word, todo] = tell(station);
    return { name, kind, word, todo };
  });
  return all.sort((one, other) => GRAVITY.indexOf(one.kind) - GRAVITY.indexOf(other.kind));
}

export function lightRow({ name, kind, word, todo }) {
  const sign = element("span", "sign", shape(kind), element("span", "unseen", TEXT.kinds[kind] + ": "));
  const what = element("span", "what", element("span", "name", TEXT.lights[name]), " ", element("span", "word", word));
  const parts = [sign, what, todo ? element("span", "todo", todo) : null];
  const className = "light " + kind + (todo ? " told" : "");
  if (!SCREENS[name]) return element("li", className, ...parts);
  const link = element("a", "through", ...parts, element("span", "onward", shape("onward")));
  link.href = SCREENS[name];
  return element("li", className + " leading", link);
}
