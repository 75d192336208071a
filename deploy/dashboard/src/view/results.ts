// Results as they arrive, newest first.
import { type Study, verdict, VERDICTS } from "../fleet/study.ts";
import { WORDS } from "../words.ts";
import { attributes, choice, element, fill, labelled, link, say } from "./dom.ts";
import { answer, number, part, percent, put, reason, when } from "./format.ts";
import { answerMark } from "./marks.ts";
import type { Context, Screen } from "./screen.ts";
import { type Column, Table } from "./table.ts";

const TEXT = WORDS.results;

export const studyKey = ({ station, outboxId, seq }: Study): string => `${station} ${outboxId} ${seq}`;

function notes(study: Study): string {
  const list = (reasons: string[]): string => reasons.map(reason).join(", ");
  return [
    study.withheld && (WORDS.withheld[study.withheld] ?? reason(study.withheld)),
    study.reason,
    study.revision > 1 && put(TEXT.revision, { count: study.revision }),
    study.refused.length > 0 && put(TEXT.refused, { reasons: list(study.refused) }),
    study.overruled.length > 0 && put(TEXT.overruled, { reasons: list(study.overruled) }),
    study.clockSynchronised === false && TEXT.clock,
  ].filter(Boolean).join("; ");
}

export function studyColumns(withStation: boolean): Column<Study>[] {
  const { columns: titles } = TEXT;
  const station: Column<Study> = {
    key: "station", title: titles.station, className: "name",
    draw: (cell, { station: name }) => fill(cell, name, () => [link(name, `#/station/${name}`)]),
  };
  return [
    { key: "heard", title: titles.heard, className: "short", draw: (cell, { heardAt }, now) => say(cell, when(heardAt, now)) },
    ...(withStation ? [station] : []),
    { key: "number", title: titles.number, className: "short", draw: (cell, { number: name }) => say(cell, name ?? WORDS.units.none) },
    { key: "type", title: titles.type, className: "short", draw: (cell, { type }) => say(cell, part(type)) },
    {
      key: "answer", title: titles.answer, className: "state",
      draw: (cell, study) => fill(cell, verdict(study), () => [answerMark(verdict(study))]),
    },
    {
      key: "probability", title: titles.probability, className: "tiny figure",
      draw: (cell, { probability }) => say(cell, probability === null ? WORDS.units.none : percent(probability)),
    },
    { key: "views", title: titles.views, className: "tiny figure late", draw: (cell, { views }) => say(cell, number(views)) },
    { key: "closed", title: titles.closed, className: "short late", draw: (cell, { closedAt }, now) => say(cell, when(closedAt, now)) },
    {
      key: "notes", title: titles.notes, className: "wide",
      draw: (cell, study) => {
        const text = notes(study);
        fill(cell, `${text} ${study.demonstration}`, () => [study.demonstration ? element("span", "demo", WORDS.demonstration_mark) : null, text]);
        cell.title = text;
      },
    },
  ];
}

interface Filter {
  site: string;
  type: string;
  answer: string;
}

const fits = (study: Study, { site, type, answer: wanted }: Filter): boolean =>
  study.station.includes(site) && (type === "" || (study.type ?? "none") === type) && (wanted === "" || verdict(study) === wanted);

export function resultsScreen({ fleet, ask }: Context): Screen {
  const filter: Filter = { site: "", type: "", answer: "" };
  const table = new Table<Study>({
    label: TEXT.heading, columns: studyColumns(true), key: studyKey, ask, growsOnTop: true,
    empty: () => (fleet.studies.list.length === 0 ? TEXT.none : TEXT.none_shown),
  });

  // What fits, newest first, made anew only when the filter changed or a study went.
  let fitting: Study[] = [];
  let seen = { generation: -1, count: 0, filter: "" };
  const update = (): void => {
    const { list, generation } = fleet.studies;
    const sign = JSON.stringify(filter);
    const anew = generation !== seen.generation || sign !== seen.filter;
    if (!anew && list.length === seen.count) return;
    const fresh = list.slice(anew ? 0 : seen.count).filter((study) => fits(study, filter)).reverse();
    fitting = anew ? fresh : [...fresh, ...fitting];
    seen = { generation, count: list.length, filter: sign };
  };

  const types = choice([["", WORDS.filter.all]], (value) => change("type", value));
  const change = (name: keyof Filter, value: string): void => {
    filter[name] = value;
    table.top();
    ask();
  };
  const known = new Set<string>();
  let typesSeen = 0;
  const offerTypes = (): void => {
    const { list } = fleet.studies;
    for (const { type } of list.slice(Math.min(typesSeen, list.length))) {
      const value = type ?? "none";
      if (known.has(value)) continue;
      known.add(value);
      const option = attributes(element("option", "", part(type)), { value });
      const next = [...types.options].slice(1).find((other) => other.text.localeCompare(option.text) > 0);
      types.insertBefore(option, next ?? null);
    }
    typesSeen = list.length;
  };
  const answers = choice([["", WORDS.filter.all], ...VERDICTS.map((one) => [one, answer(one)] as const)], (value) => change("answer", value));
  const site = attributes(element("input", "text"), { type: "search", placeholder: WORDS.filter.site_hint });
  site.addEventListener("input", () => change("site", site.value.trim().toLowerCase()));

  const count = element("p", "shown");
  const filters = [labelled(WORDS.filter.site, site), labelled(WORDS.filter.type, types), labelled(WORDS.filter.answer, answers)];
  const root = element("section", "screen full", element("div", "bar", element("h1", "", TEXT.heading), ...filters, count), table.root);
  const draw = (now: number): void => {
    offerTypes();
    update();
    say(count, put(TEXT.shown, { count: number(fitting.length), all: number(fleet.studies.list.length) }));
    table.draw(fitting, now);
  };
  return { root, title: TEXT.heading, draw };
}
