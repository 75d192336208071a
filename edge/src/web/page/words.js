// Numbers, times and names, in the page's words.
import { TEXT } from "../text.js";

/** Puts values into a text's `{name}`s. */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export const percent = (share) => fill(TEXT.units.percent, { count: (share * 100).toFixed(1) });

export function mebibytes(count) {
  if (count < 1024) return fill(TEXT.units.mib, { count });
  const gib = count / 1024;
  return fill(TEXT.units.gib, { count: gib.toFixed(gib < 10 ? 1 : 0) });
}

export function age(seconds) {
  const [unit, count] =
    seconds < 90 ? ["seconds", seconds]
    : seconds < 5400 ? ["minutes", seconds / 60]
    : seconds < 129600 ? ["hours", seconds / 3600]
    : ["days", seconds / 86400];
  return fill(TEXT.units[unit], { count: Math.round(count) });
}

/** The time of day; with the date unless it is today. */
export function when(stamp) {
  const then = new Date(stamp);
  const time = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  if (then.toDateString() === new Date().toDateString()) return time;
  const two = (number) => String(number).padStart(2, "0");
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())} ${time}`;
}

export function seconds(milliseconds) {
  return fill(TEXT.answer.seconds, { seconds: (milliseconds / 1000).toFixed(1) });
}

const spaced = (name) => name.replaceAll("_", " ").toLowerCase();

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export function bodyPart(type) {
  if (type === null) return TEXT.type_unknown;
  return TEXT.types[type] || capital(spaced(type.replace(/^XR_/, "")));
}

/** What a rejection is called, and what to do. */
export function rejection(reason) {
  const known = TEXT.rejections[reason] || TEXT.rejection_else;
  return { name: fill(known.name, { reason: capital(spaced(reason)) }), todo: known.todo };
}

export const many = (count, one, several, values = {}) => fill(count === 1 ? one : several, { count, ...values });
