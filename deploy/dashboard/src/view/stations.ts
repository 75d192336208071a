// All stations, those that need somebody first.
import { model as currentModel } from "../contract/health.ts";
import type { Station } from "../fleet/fleet.ts";
import { ORDER, type Presence } from "../fleet/presence.ts";
import { studies } from "../fleet/rates.ts";
import { time } from "../fleet/study.ts";
import { WORDS } from "../words.ts";
import { attributes, button, element, fill, labelled, link, say } from "./dom.ts";
import { age, ago, byText, bytes, degrees, number, put, when } from "./format.ts";
import { presenceMark, warningMark } from "./marks.ts";
import type { Context, Screen } from "./screen.ts";
import { Table } from "./table.ts";
import { allWarnings } from "./warned.ts";

const TEXT = WORDS.stations;

/** A station as its row shows it. */
interface Row {
  station: Station;
  presence: Presence;
  warnings: string[];
  queue: number;
}

type Shown = Presence | "all" | "warned";

const byName = (a: Row, b: Row): number => byText(a.station.name, b.station.name);
const byNeed = (a: Row, b: Row): number =>
  ORDER.indexOf(a.presence) - ORDER.indexOf(b.presence) || b.warnings.length - a.warnings.length || byName(a, b);

/** When a station was last there, as far as this page or the station's own clock knows. */
export function lastSeen({ heardAt, health, status }: Station): { at: number | null; kept: boolean } {
  if (heardAt !== null) return { at: heardAt, kept: false };
  return { at: time(health?.at) ?? time(status?.at), kept: true };
}

export function seenText(station: Station, now: number): string {
  const { at, kept } = lastSeen(station);
  if (at === null) return TEXT.never;
  return kept ? when(at, now) : ago(at, now);
}

function columns(context: Context): ConstructorParameters<typeof Table<Row>>[0]["columns"] {
  const { columns: titles } = TEXT;
  const model = ({ birth, health }: Station): string => {
    const said = currentModel(health) ?? birth?.model;
    return said ? `${said.name} ${said.version}` : WORDS.units.none;
  };
  return [
    {
      key: "name", title: titles.name, className: "name", order: byName,
      draw: (cell, { station: { name } }) => fill(cell, name, () => [link(name, `#/station/${name}`)]),
    },
    {
      key: "presence", title: titles.presence, className: "state", order: byNeed,
      draw: (cell, { presence }) => fill(cell, presence, () => [presenceMark(presence)]),
    },
    {
      key: "seen", title: titles.seen, className: "short", order: (a, b) => (lastSeen(b.station).at ?? 0) - (lastSeen(a.station).at ?? 0),
      draw: (cell, { station }, now) => say(cell, seenText(station, now)),
    },
    {
      key: "warnings", title: titles.warnings, className: "wide", order: (a, b) => b.warnings.length - a.warnings.length || byName(a, b),
      draw: (cell, { warnings }) => fill(cell, warnings.join(), () => warnings.map(warningMark)),
    },
    {
      key: "model", title: titles.model, className: "model", order: (a, b) => byText(model(a.station), model(b.station)),
      draw: (cell, { station }) => {
        const demonstration = context.fleet.isDemonstration(station);
        fill(cell, `${model(station)} ${demonstration}`, () => [demonstration ? element("span", "demo", WORDS.demonstration_mark) : null, model(station)]);
      },
    },
    {
      key: "queue", title: titles.queue, className: "short figure", order: (a, b) => b.queue - a.queue,
      draw: (cell, { station: { health } }) => {
        const oldest = health?.outbox_oldest_age_s;
        const count = number(health?.outbox_depth ?? 0);
        say(cell, !health ? WORDS.units.none : oldest ? put(TEXT.queue, { count, age: age(oldest * 1000) }) : count);
      },
    },
    {
      key: "disk", title: titles.disk, className: "short figure", order: (a, b) => (a.station.health?.disk_free_bytes ?? Infinity) - (b.station.health?.disk_free_bytes ?? Infinity),
      draw: (cell, { station: { health } }) => say(cell, health ? bytes(health.disk_free_bytes) : WORDS.units.none),
    },
    {
      key: "temperature", title: titles.temperature, className: "tiny figure late", order: (a, b) => (b.station.health?.temperature_c ?? -999) - (a.station.health?.temperature_c ?? -999),
      draw: (cell, { station: { health } }) => say(cell, health?.temperature_c == null ? WORDS.units.none : degrees(health.temperature_c)),
    },
    {
      key: "today", title: titles.today, className: "short figure late",
      draw: (cell, { station: { name } }, now) => {
        const counts = context.fleet.history(name, now).days[0]?.counts;
        say(cell, counts ? put(TEXT.today, { studies: number(studies(counts)), abnormal: number(counts.abnormal) }) : WORDS.units.none);
      },
    },
  ];
}

export function stationsScreen(context: Context): Screen {
  const { fleet, ask } = context;
  let shown: Shown = "all";
  let text = "";
  const table = new Table<Row>({
    label: TEXT.heading, columns: columns(context), key: ({ station }) => station.name, ask,
    empty: () => (fleet.stations.size === 0 ? TEXT.none : TEXT.none_shown),
  });

  const kinds: Shown[] = ["all", ...ORDER, "warned"];
  const counts = new Map(kinds.map((kind) => [kind, element("strong")]));
  const name = (kind: Shown): string => (kind === "all" ? TEXT.all : kind === "warned" ? TEXT.warned : WORDS.presence[kind]);
  const buttons = new Map(kinds.map((kind) => {
    const made = button("", "count", () => {
      shown = kind;
      ask();
    });
    made.append(counts.get(kind) ?? "", ` ${name(kind)}`);
    return [kind, made];
  }));
  const summary = attributes(element("div", "counts", ...buttons.values()), { role: "group", "aria-label": TEXT.summary });

  const site = attributes(element("input", "text"), { type: "search", placeholder: WORDS.filter.site_hint });
  site.addEventListener("input", () => {
    text = site.value.trim().toLowerCase();
    ask();
  });
  const count = element("p", "shown");
  const root = element("section", "screen full", element("div", "bar", element("h1", "", TEXT.heading), labelled(WORDS.filter.site, site), count), summary, table.root);

  const draw = (now: number): void => {
    const all = [...fleet.stations.values()].map((station): Row => ({
      station, presence: fleet.presence(station, now), warnings: allWarnings(fleet, station), queue: station.health?.outbox_depth ?? -1,
    }));
    for (const kind of kinds) {
      const of = kind === "all" ? all : all.filter((row) => (kind === "warned" ? row.warnings.length > 0 : row.presence === kind));
      const label = counts.get(kind);
      if (label) say(label, number(of.length));
      const toggle = buttons.get(kind);
      if (toggle) attributes(toggle, { "aria-pressed": String(shown === kind), hidden: of.length === 0 && kind !== "all" && shown !== kind });
    }
    const rows = all.filter(({ station, presence, warnings }) =>
      station.name.includes(text) && (shown === "all" || (shown === "warned" ? warnings.length > 0 : presence === shown)));
    rows.sort(table.order ?? byNeed);
    say(count, put(TEXT.shown, { count: number(rows.length), all: number(all.length) }));
    table.draw(rows, now);
  };
  return { root, title: TEXT.heading, draw };
}
