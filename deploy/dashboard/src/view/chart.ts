// Small charts as SVG. Each has words that say the same.
import type { Comparison, Counts } from "../fleet/rates.ts";
import { DECILES } from "../fleet/rates.ts";
import { attributes, element, shape } from "./dom.ts";

function picture(width: number, height: number, label: string, ...parts: SVGElement[]): SVGElement {
  return shape("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, preserveAspectRatio: "none" }, ...parts);
}

const rect = (x: number, y: number, width: number, height: number, tone: string): SVGElement =>
  shape("rect", { x: x.toFixed(2), y: y.toFixed(2), width: width.toFixed(2), height: Math.max(0, height).toFixed(2), class: tone });

const STACK = [["abnormal", "bad"], ["uncertain", "mind"], ["normal", "good"], ["rejected", "quiet"], ["failed", "dark"]] as const;

/** One bar a day, the oldest on the left. */
export function days(list: readonly Counts[], label: string): SVGElement {
  const [width, height] = [560, 120];
  const totals = list.map((counts) => STACK.reduce((sum, [name]) => sum + counts[name], 0));
  const most = Math.max(1, ...totals);
  const step = width / list.length;
  const bars = [...list].reverse().flatMap((counts, i) => {
    let top = height;
    return STACK.map(([name, tone]) => {
      const size = (counts[name] / most) * (height - 2);
      top -= size;
      return rect(i * step + 1, top, step - 2, size, tone);
    });
  });
  return picture(width, height, label, ...bars);
}

/** Ten classes of scores, the recent beside those before, as shares. */
export function deciles(recent: Counts, before: Counts, label: string): SVGElement {
  const [width, height] = [560, 120];
  const shares = ({ deciles: list }: Counts): number[] => {
    const all = Math.max(1, list.reduce((sum, count) => sum + count, 0));
    return list.map((count) => count / all);
  };
  const [now, then] = [shares(recent), shares(before)];
  const most = Math.max(0.05, ...now, ...then);
  const step = width / DECILES;
  const bars = Array.from({ length: DECILES }, (_, i) => {
    const [a, b] = [((then[i] ?? 0) / most) * (height - 2), ((now[i] ?? 0) / most) * (height - 2)];
    return [rect(i * step + 4, height - a, step / 2 - 5, a, "quiet"), rect(i * step + step / 2 + 1, height - b, step / 2 - 5, b, "action")];
  });
  return picture(width, height, label, ...bars.flat());
}

/** Values over time. A pause of more than `gap_ms` breaks the line. */
export function line(points: readonly { at: number; value: number }[], gap_ms: number, label: string): SVGElement {
  const [width, height] = [560, 80];
  const values = points.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const from = points[0]?.at ?? 0;
  const span = Math.max(1, (points.at(-1)?.at ?? 0) - from);
  const place = ({ at, value }: { at: number; value: number }): string =>
    `${(((at - from) / span) * (width - 8) + 4).toFixed(1)} ${(height - 4 - (high > low ? (value - low) / (high - low) : 0.5) * (height - 8)).toFixed(1)}`;
  const path = points.map((point, i) => {
    const last = points[i - 1];
    return `${last && point.at - last.at <= gap_ms ? "L" : "M"}${place(point)}`;
  });
  const parts = [shape("path", { d: path.join(""), class: "line" })];
  const last = points.at(-1);
  // A single point is no line.
  if (last) parts.push(shape("path", { d: `M${place(last)}h0.01`, class: "line dot" }));
  return picture(width, height, label, ...parts);
}

/** The interval of a share as a bar, and the share before as a tick, from 0 to `most`. */
export function interval(comparison: Comparison, most: number): SVGElement {
  const [width, height] = [80, 14];
  const x = (share: number): number => 1 + Math.min(1, share / most) * (width - 2);
  const { recent, before, interval: { low, high }, verdict } = comparison;
  const tone = verdict === "higher" || verdict === "lower" ? "mind" : "action";
  const parts = [rect(0, height / 2 - 0.5, width, 1, "faint"), rect(x(low), 4, Math.max(1, x(high) - x(low)), 6, tone)];
  if (recent.n > 0) parts.push(rect(x(recent.k / recent.n) - 1, 2, 2, 10, "ink"));
  if (before.n > 0) parts.push(rect(x(before.k / before.n) - 1, 0, 2, height, "quiet"));
  return shape("svg", { class: "interval", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...parts);
}

/** What the ends of a chart are, in words beneath it. */
export function axis(...texts: string[]): HTMLElement {
  return attributes(element("p", "axis soft", ...texts.map((text) => element("span", "", text))), { "aria-hidden": "true" });
}

/** What the colours of a chart mean. */
export function legend(entries: readonly (readonly [tone: string, text: string])[]): HTMLElement {
  return element("ul", "legend", ...entries.map(([tone, text]) => {
    const swatch = shape("svg", { class: "shape", viewBox: "0 0 16 16", "aria-hidden": "true" }, shape("rect", { x: 1, y: 1, width: 14, height: 14, class: tone }));
    return element("li", `mark ${tone}`, swatch, element("span", "plain", text));
  }));
}

export const DAY_TONES = STACK;
