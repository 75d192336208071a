// Each station's rates against its own past.
import { type History, split } from "../fleet/days.ts";
import { compare, type Comparison, type Measure, MEASURES, share, studies, STUDIES_MIN } from "../fleet/rates.ts";
import { WORDS } from "../words.ts";
import { attributes, choice, element, fill, labelled, link, say, tick } from "./dom.ts";
import { interval } from "./chart.ts";
import { byText, number, percent, put } from "./format.ts";
import type { Context, Screen } from "./screen.ts";
import { type Column, Table } from "./table.ts";

const TEXT = WORDS.rates;
const DRAWN_EVERY_MS = 1_000;

interface Row {
  station: string;
  source: History["source"];
  recent: number;
  before: number;
  comparisons: Record<Measure, Comparison>;
  evidence: number;
}

/** A station's comparisons over a window of `days`. */
export function comparisons(past: History, days: number): { recent: number; before: number; comparisons: Record<Measure, Comparison> } {
  const parts = split(past, days);
  const of = (measure: Measure): Comparison => compare(share(parts.recent, measure), share(parts.before, measure));
  return {
    recent: studies(parts.recent),
    before: studies(parts.before),
    comparisons: { abnormal: of("abnormal"), uncertain: of("uncertain"), rejected: of("rejected") },
  };
}

export const differs = ({ verdict }: Comparison): boolean => verdict === "higher" || verdict === "lower";

/** The scale of a measure's bars: rejected and uncertain are rare, and a bar of a few per cent must be seen. */
const SCALE: Record<Measure, number> = { abnormal: 1, uncertain: 0.6, rejected: 0.4 };

/** A comparison as a sign, a bar and words. */
export function comparisonParts(comparison: Comparison, measure: Measure): (Node | null)[] {
  const { recent, before, verdict, interval: { low, high } } = comparison;
  const now = recent.n > 0 ? percent(recent.k / recent.n) : TEXT.nothing;
  const was = before.n > 0 ? percent(before.k / before.n) : TEXT.nothing;
  const sign = verdict === "higher" ? "\u25b2" : verdict === "lower" ? "\u25bc" : "";
  const words = verdict === "few" ? put(TEXT.few, { now }) : put(TEXT.was, { now, before: was });
  const figures = element("span", differs(comparison) ? "differs" : "", words);
  if (sign) figures.prepend(attributes(element("span", "", `${sign} `), { "aria-hidden": "true" }), element("span", "unseen", `${TEXT.verdicts[verdict]}: `));
  figures.title = put(TEXT.interval, { low: percent(low, 1), high: percent(high, 1) });
  return [interval(comparison, SCALE[measure]), figures];
}

function columns(): Column<Row>[] {
  const measure = (name: Measure): Column<Row> => ({
    key: name, title: TEXT.columns[name], className: "rate", order: (a, b) => b.comparisons[name].evidence - a.comparisons[name].evidence,
    draw: (cell, { comparisons: all }) => {
      const { recent, before } = all[name];
      fill(cell, [recent.k, recent.n, before.k, before.n].join(), () => comparisonParts(all[name], name));
    },
  });
  return [
    {
      key: "station", title: TEXT.columns.station, className: "name", order: (a, b) => byText(a.station, b.station),
      draw: (cell, { station }) => fill(cell, station, () => [link(station, `#/station/${station}`)]),
    },
    {
      key: "studies", title: TEXT.columns.studies, className: "short figure", order: (a, b) => b.recent - a.recent,
      draw: (cell, { recent, before }) => say(cell, put(TEXT.studies, { recent: number(recent), before: number(before) })),
    },
    ...MEASURES.map(measure),
    { key: "source", title: TEXT.columns.source, className: "short late", draw: (cell, { source }) => say(cell, TEXT.source[source]) },
  ];
}

export function ratesScreen({ fleet, ask }: Context): Screen {
  let days = 7;
  let onlyDiffering = false;
  let rows: Row[] = [];
  let made = { at: 0, days: 0 };
  const table = new Table<Row>({
    label: TEXT.heading, columns: columns(), key: ({ station }) => station, ask, empty: () => (rows.length === 0 ? TEXT.none : TEXT.none_shown),
  });
  const windows = choice(Object.entries(TEXT.windows), (value) => {
    days = Number(value);
    ask();
  });
  windows.value = String(days);
  const only = tick(TEXT.only_differing, (on) => {
    onlyDiffering = on;
    ask();
  });
  const count = element("p", "shown");
  const bar = element("div", "bar", element("h1", "", TEXT.heading), labelled(TEXT.window, windows, "field long"), only.root, count);
  const explain = element("details", "explain", element("summary", "", WORDS.explain), element("p", "", put(TEXT.explain, { count: STUDIES_MIN })));
  const root = element("section", "screen full", bar, explain, table.root);

  const draw = (now: number): void => {
    if (now - made.at >= DRAWN_EVERY_MS || made.days !== days) {
      made = { at: now, days };
      rows = [...fleet.stations.keys()].map((station): Row => {
        const past = fleet.history(station, now);
        const found = comparisons(past, days);
        return { station, source: past.source, ...found, evidence: Math.max(...MEASURES.map((name) => found.comparisons[name].evidence)) };
      }).filter(({ recent, before }) => recent + before > 0);
    }
    const shown = rows.filter(({ comparisons: all }) => !onlyDiffering || MEASURES.some((name) => differs(all[name])));
    shown.sort(table.order ?? ((a, b) => b.evidence - a.evidence || byText(a.station, b.station)));
    say(count, put(WORDS.stations.shown, { count: number(shown.length), all: number(rows.length) }));
    table.draw(shown, now);
  };
  return { root, title: TEXT.heading, draw };
}
