// What of each sequence is here, missing, late or explained.
import { count as countOf, type Range } from "../fleet/ranges.ts";
import { gaps, type Gaps, type Outbox } from "../fleet/sequence.ts";
import { WORDS } from "../words.ts";
import { element, fill, link, say, tick } from "./dom.ts";
import { ago, byText, number, put, ranges } from "./format.ts";
import type { Context, Screen } from "./screen.ts";
import { type Column, Table } from "./table.ts";

const TEXT = WORDS.gaps;
/** Characters of an outbox's name that are shown. */
const NAME_SHOWN_CHARS = 8;

export interface Sequence {
  outbox: Outbox;
  gaps: Gaps;
}

export const sequenceKey = ({ outbox }: Sequence): string => `${outbox.station} ${outbox.outboxId}`;

function numbers(list: readonly Range[]): string {
  return list.length === 0 ? WORDS.units.none : put(TEXT.numbers, { count: number(countOf(list)), ranges: ranges(list) });
}

export function gapColumns(withStation: boolean): Column<Sequence>[] {
  const { columns: titles } = TEXT;
  const set = (key: "missing" | "late" | "dropped" | "unwatched", className: string, of: (sequence: Sequence) => readonly Range[]): Column<Sequence> => ({
    key, title: titles[key], className, order: (a, b) => countOf(of(b)) - countOf(of(a)),
    draw: (cell, sequence) => {
      const text = numbers(of(sequence));
      say(cell, text);
      cell.classList.toggle("differs", key === "missing" && of(sequence).length > 0);
      cell.title = text;
    },
  });
  const station: Column<Sequence> = {
    key: "station", title: titles.station, className: "name", order: (a, b) => byText(a.outbox.station, b.outbox.station),
    draw: (cell, { outbox: { station: name } }) => fill(cell, name, () => [link(name, `#/station/${name}`)]),
  };
  return [
    ...(withStation ? [station] : []),
    {
      key: "outbox", title: titles.outbox, className: "short",
      draw: (cell, { outbox: { outboxId } }) => {
        say(cell, outboxId.slice(0, NAME_SHOWN_CHARS));
        cell.title = outboxId;
      },
    },
    {
      key: "range", title: titles.range, className: "short figure",
      draw: (cell, { outbox: { first, highest } }) => say(cell, highest < first ? WORDS.units.none : `${number(first)}\u2013${number(highest)}`),
    },
    { key: "received", title: titles.received, className: "short figure late", draw: (cell, { outbox }) => say(cell, number(countOf(outbox.received))) },
    set("missing", "wide", (sequence) => sequence.gaps.missing),
    set("late", "wide", (sequence) => sequence.gaps.late),
    set("dropped", "wide late", ({ outbox }) => outbox.dropped),
    set("unwatched", "wide late", ({ outbox }) => outbox.unwatched),
    {
      key: "repeats", title: titles.repeats, className: "short figure", order: (a, b) => b.outbox.repeats - a.outbox.repeats,
      draw: (cell, { outbox }) => say(cell, number(outbox.repeats)),
    },
    { key: "heard", title: titles.heard, className: "short late", draw: (cell, { outbox }, now) => say(cell, ago(outbox.heardAt, now)) },
  ];
}

const byNeed = (a: Sequence, b: Sequence): number =>
  countOf(b.gaps.missing) - countOf(a.gaps.missing) || countOf(b.gaps.late) - countOf(a.gaps.late) || b.outbox.heardAt - a.outbox.heardAt;

export function gapsScreen({ fleet, ask }: Context): Screen {
  let onlyOpen = false;
  const table = new Table<Sequence>({
    label: TEXT.heading, columns: gapColumns(true), key: sequenceKey, ask, empty: () => (fleet.outboxes.size === 0 ? TEXT.none : TEXT.none_shown),
  });
  const only = tick(TEXT.only_open, (on) => {
    onlyOpen = on;
    ask();
  });
  const count = element("p", "shown");
  const explain = element("details", "explain", element("summary", "", WORDS.explain), element("p", "", TEXT.explain));
  const root = element("section", "screen full", element("div", "bar", element("h1", "", TEXT.heading), only.root, count), explain, table.root);
  const draw = (now: number): void => {
    const all = [...fleet.outboxes.values()].map((outbox): Sequence => ({ outbox, gaps: gaps(outbox) }));
    const rows = all.filter(({ gaps: { missing, late } }) => !onlyOpen || missing.length + late.length > 0);
    rows.sort(table.order ?? byNeed);
    say(count, put(WORDS.stations.shown, { count: number(rows.length), all: number(all.length) }));
    table.draw(rows, now);
  };
  return { root, title: TEXT.heading, draw };
}
