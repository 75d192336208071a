// One station: what it is, how it is, how it was.
import { camera, figure, model as currentModel } from "../contract/health.ts";
import { split } from "../fleet/days.ts";
import { SAMPLE_DAYS_MAX, type Sample, SLOT_MS, type Station } from "../fleet/fleet.ts";
import { INDEX_MOVED, MEASURES, none, plus, scored, stabilityIndex } from "../fleet/rates.ts";
import { gaps } from "../fleet/sequence.ts";
import type { Study } from "../fleet/study.ts";
import { time } from "../fleet/study.ts";
import { WORDS } from "../words.ts";
import { axis, DAY_TONES, days as daysChart, deciles, legend, line } from "./chart.ts";
import { attributes, element, fill, link, say } from "./dom.ts";
import { age, bytes, degrees, number, part, put, reason, when } from "./format.ts";
import { gapColumns, type Sequence, sequenceKey } from "./gaps.ts";
import { presenceMark, warningMark } from "./marks.ts";
import { comparisonParts, comparisons } from "./rates.ts";
import { studyColumns, studyKey } from "./results.ts";
import type { Context, Screen } from "./screen.ts";
import { seenText } from "./stations.ts";
import { Table } from "./table.ts";
import { allWarnings } from "./warned.ts";

const TEXT = WORDS.station;
const RECENT_DAYS = 7;
/** How often health over time is read from the browser's storage. */
const SAMPLES_READ_MS = 30_000;
/** A line over time breaks where nothing was heard for this long. */
const GAP_MS = 3 * SLOT_MS;
const RESULTS_MAX = 500;

type Fact = readonly [name: string, value: string | Node];

/** A list of names and values. */
export function facts(root: HTMLElement, list: readonly Fact[]): void {
  const sign = list.map(([name, value]) => `${name} ${typeof value === "string" ? value : value.textContent}`).join("|");
  fill(root, sign, () => list.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

function identity(station: Station): Fact[] {
  const { birth, health } = station;
  const model = currentModel(health) ?? birth?.model;
  const list: Fact[] = [];
  if (model) {
    list.push([TEXT.facts.model, `${model.name} ${model.version}`], [TEXT.facts.purpose, TEXT.purposes[model.purpose] ?? model.purpose]);
    list.push([TEXT.facts.bundle, model.bundle_sha256]);
  }
  if (birth) {
    list.push([TEXT.facts.types, birth.study_types.map(part).join(", ")], [TEXT.facts.edge, birth.edge_version], [TEXT.facts.outbox, birth.outbox_id]);
  }
  return list;
}

function condition({ health }: Station, now: number): Fact[] {
  if (!health) return [];
  const { facts: names } = TEXT;
  const oldest = health.outbox_oldest_age_s;
  const queue = number(health.outbox_depth);
  const free = bytes(health.disk_free_bytes);
  const total = figure(health, "disk_total_bytes");
  const load = figure(health, "load_1m");
  const grabber = camera(health);
  const list: Fact[] = [
    [names.queue, oldest ? put(WORDS.stations.queue, { count: queue, age: age(oldest * 1000) }) : queue],
    [names.dead, number(health.outbox_dead)],
    [names.waiting, number(health.images_waiting)],
    [names.disk, total === null ? free : put(TEXT.disk, { free, total: bytes(total) })],
    [names.temperature, health.temperature_c == null ? WORDS.units.none : degrees(health.temperature_c)],
    [names.clock, TEXT.clock[String(health.clock_synchronised ?? null)] ?? ""],
  ];
  if (grabber !== null) list.push([names.camera, TEXT.camera[grabber] ?? reason(grabber)]);
  if (load !== null) list.push([names.load, put(TEXT.load, { load: load.toFixed(1), cpus: figure(health, "cpus") ?? "?" })]);
  list.push([names.uptime, age(health.uptime_s * 1000)], [names.measured, when(time(health.at), now)]);
  return list;
}

/** Charts of the last 28 days and of the scores. */
function pastPart(context: Context, name: string): { root: HTMLElement; draw: (now: number) => void } {
  const [rates, chart, table, scores] = [element("dl", "facts rates"), element("div"), element("details", "explain"), element("div")];
  const root = element("div", "cards",
    element("section", "card", element("h2", "", TEXT.rates), rates, scores),
    element("section", "card", element("h2", "", TEXT.days), chart, table));
  const draw = (now: number): void => {
    const past = context.fleet.history(name, now);
    const sign = JSON.stringify(past);
    const { recent, before, comparisons: all } = comparisons(past, RECENT_DAYS);
    fill(rates, sign, () => [
      element("dt", "", WORDS.rates.columns.studies),
      element("dd", "", `${put(WORDS.rates.studies, { recent: number(recent), before: number(before) })} (${WORDS.rates.windows[RECENT_DAYS]}; ${WORDS.rates.columns.source.toLowerCase()} ${WORDS.rates.source[past.source]})`),
      ...MEASURES.flatMap((measure) => [
        element("dt", "", WORDS.rates.columns[measure]), element("dd", "", ...comparisonParts(all[measure], measure)),
      ]),
    ]);
    fill(chart, sign, () => {
      const counts = past.days.map((day) => day.counts);
      const sum = counts.reduce((total, one) => plus(total, one), none());
      const label = put(TEXT.days_label, { ...sum, deciles: "" });
      return [daysChart(counts, label), axis(past.days.at(-1)?.day ?? "", past.days[0]?.day ?? ""), legend(DAY_TONES.map(([answer, tone]) => [tone, WORDS.answers[answer]] as const))];
    });
    fill(table, sign, () => {
      const heads = [TEXT.day, ...DAY_TONES.map(([answer]) => WORDS.answers[answer])];
      const rows = past.days.map(({ day, counts }) =>
        element("tr", "", element("th", "", day), ...DAY_TONES.map(([answer]) => element("td", "figure", number(counts[answer])))));
      return [
        element("summary", "", TEXT.days_table),
        element("table", "plain", element("thead", "", element("tr", "", ...heads.map((head) => element("th", "", head)))), element("tbody", "", ...rows)),
      ];
    });
    fill(scores, sign, () => {
      const parts = split(past, RECENT_DAYS);
      const label = put(TEXT.scores_label, { recent: scored(parts.recent), before: scored(parts.before) });
      const index = stabilityIndex(parts.recent, parts.before);
      const verdict = TEXT.index_verdicts[index !== null && index >= INDEX_MOVED ? "moved" : "same"];
      const words = index === null ? TEXT.index_few : put(TEXT.index, { index: index.toFixed(2), verdict });
      return [
        element("h3", "", TEXT.scores), deciles(parts.recent, parts.before, label), axis("0", TEXT.probability, "1"),
        legend([["quiet", TEXT.before], ["action", TEXT.recent]]), element("p", "soft", words),
      ];
    });
  };
  return { root, draw };
}

/** Charts of what health said over time. */
function healthPart(context: Context, name: string): { root: HTMLElement; draw: (now: number) => void } {
  const charts = element("div", "charts");
  const root = element("section", "card", element("h2", "", TEXT.over_time), charts);
  const units = {
    outbox_depth: number, disk_free_bytes: bytes, temperature_c: degrees,
  } satisfies Partial<Record<keyof Sample, (value: number) => string>>;
  let samples: Sample[] = [];
  let readAt = 0;
  const draw = (now: number): void => {
    if (now - readAt > SAMPLES_READ_MS) {
      readAt = now;
      void context.storage?.samples(name).then((found) => {
        samples = found.filter(({ at }) => now - at < SAMPLE_DAYS_MAX * 86_400_000);
        context.ask();
      });
    }
    fill(charts, `${samples.length} ${samples.at(-1)?.at}`, () => (Object.keys(units) as (keyof typeof units)[]).map((key) => {
      const points = samples.flatMap(({ at, [key]: value }) => (value === null ? [] : [{ at, value }]));
      const values = points.map(({ value }) => value);
      const [first, last] = [points[0], points.at(-1)];
      const title = element("h3", "", TEXT.charts[key]);
      if (!first || !last) return element("figure", "", title, element("p", "soft", TEXT.chart_none));
      const words = put(TEXT.chart_label, {
        name: TEXT.charts[key], from: when(first.at, now), to: when(last.at, now), low: units[key](Math.min(...values)), high: units[key](Math.max(...values)), last: units[key](last.value),
      });
      return element("figure", "", title, line(points, GAP_MS, words), element("figcaption", "soft", words));
    }));
  };
  return { root, draw };
}

export function stationScreen(context: Context, name: string): Screen {
  const { fleet, ask } = context;
  const [heading, state, note, demonstration, warned] = [element("h1", "", name), element("span"), element("span", "soft"), element("span"), element("p", "warned")];
  const [what, how] = [element("dl", "facts"), element("dl", "facts")];
  const past = pastPart(context, name);
  const health = healthPart(context, name);
  const sequences = new Table<Sequence>({ label: TEXT.gaps, columns: gapColumns(false), key: sequenceKey, ask, empty: () => WORDS.gaps.none, rows: 4 });
  const results = new Table<Study>({ label: TEXT.results, columns: studyColumns(false), key: studyKey, ask, empty: () => WORDS.results.none, growsOnTop: true, rows: 10 });
  const body = element("div", "station",
    element("div", "cards", element("section", "card", element("h2", "", TEXT.health), warned, how), element("section", "card", element("h2", "", TEXT.identity), what)),
    past.root, health.root,
    element("section", "card", element("h2", "", TEXT.gaps), sequences.root),
    element("section", "card", element("h2", "", TEXT.results), results.root));
  const missing = element("p", "empty");
  const root = element("section", "screen", element("div", "bar", heading, state, demonstration, note, link(TEXT.back, "#/")), missing, body);

  let mine: Study[] = [];
  let seen = { generation: -1, count: -1 };
  const draw = (now: number): void => {
    const station = fleet.stations.get(name);
    body.hidden = !station;
    say(missing, station ? "" : put(TEXT.missing, { name }));
    if (!station) return;
    const presence = fleet.presence(station, now);
    fill(state, presence, () => [presenceMark(presence)]);
    say(note, `${put(WORDS.presence_notes[presence], { reason: reason(station.status?.reason ?? "") })}. ${TEXT.facts.seen}: ${seenText(station, now)}`);
    say(demonstration, fleet.isDemonstration(station) ? WORDS.demonstration_mark : "");
    demonstration.className = fleet.isDemonstration(station) ? "demo" : "";
    const warnings = allWarnings(fleet, station);
    fill(warned, warnings.join(), () => warnings.map(warningMark));
    facts(how, condition(station, now));
    facts(what, identity(station));
    past.draw(now);
    health.draw(now);
    sequences.draw([...fleet.outboxes.values()].filter((outbox) => outbox.station === name).map((outbox) => ({ outbox, gaps: gaps(outbox) })), now);
    const { list, generation } = fleet.studies;
    if (seen.generation !== generation || seen.count !== list.length) {
      mine = list.filter((study) => study.station === name).slice(-RESULTS_MAX).reverse();
      seen = { generation, count: list.length };
    }
    results.draw(mine, now);
  };
  attributes(root, { "aria-label": name });
  return { root, title: name, draw };
}
