// What this page itself does: its connection, what it keeps, what it could not read, how quick it is.
import type { Bad } from "../contract/read.ts";
import { SAMPLE_DAYS_MAX } from "../fleet/fleet.ts";
import { STUDIES_MAX, STUDY_DAYS_MAX } from "../fleet/studies.ts";
import { WORDS } from "../words.ts";
import { button, element, fill, say } from "./dom.ts";
import { bytes, milliseconds, number, put, when } from "./format.ts";
import type { Context, Figures, Screen } from "./screen.ts";
import { facts } from "./station.ts";
import { Table } from "./table.ts";

const TEXT = WORDS.page;
const SPACE_READ_MS = 10_000;

const frames = ({ count, median_ms, p95_ms, worst_ms }: Figures): string =>
  put(TEXT.frames, { median: milliseconds(median_ms), p95: milliseconds(p95_ms), worst: milliseconds(worst_ms), count: number(count) });

export function pageScreen(context: Context): Screen {
  const { fleet, ask } = context;
  const list = element("dl", "facts");
  const counts = element("ul", "legend");
  const table = new Table<Bad & { at: number; index: number }>({
    label: TEXT.bad, ask, key: ({ index }) => String(index), empty: () => TEXT.none_bad, growsOnTop: true, rows: 8,
    columns: [
      { key: "at", title: TEXT.bad_columns.at, className: "short", draw: (cell, { at }, now) => say(cell, when(at, now)) },
      { key: "topic", title: TEXT.bad_columns.topic, className: "wide", draw: (cell, { topic }) => say(cell, topic) },
      { key: "reason", title: TEXT.bad_columns.reason, className: "wide", draw: (cell, { reason }) => say(cell, TEXT.bad_reasons[reason]) },
      { key: "detail", title: TEXT.bad_columns.detail, className: "wide late", draw: (cell, { detail }) => say(cell, detail) },
    ],
  });

  let sure = false;
  const forget = button(TEXT.forget, "grave", () => {
    if (sure) return context.forget();
    sure = true;
    say(forget, TEXT.forget_sure);
  });
  forget.addEventListener("blur", () => {
    // Another window is in front: the button still has the focus of this one.
    if (document.activeElement === forget) return;
    sure = false;
    say(forget, TEXT.forget);
  });
  const actions = element("div", "actions",
    element("p", "", button(TEXT.leave, "", context.leave), element("span", "soft", TEXT.leave_note)),
    element("p", "", forget, element("span", "soft", TEXT.forget_note)));
  const limits = put(TEXT.limits, { studies: number(STUDIES_MAX), days: STUDY_DAYS_MAX, samples: SAMPLE_DAYS_MAX });
  const root = element("section", "screen",
    element("div", "bar", element("h1", "", TEXT.heading)),
    element("section", "card", element("h2", "", TEXT.connection), list, element("p", "soft", limits), actions),
    element("section", "card", element("h2", "", TEXT.bad), element("p", "soft", TEXT.bad_explain), counts, table.root));

  let space = "";
  let readAt = 0;
  const draw = (now: number): void => {
    if (now - readAt > SPACE_READ_MS) {
      readAt = now;
      void navigator.storage?.estimate().then(({ usage }) => {
        space = usage === undefined ? "" : bytes(usage);
        ask();
      });
    }
    const { facts: names } = TEXT;
    const bad = [...fleet.bad.counts.values()].reduce((sum, count) => sum + count, 0);
    facts(list, [
      [names.broker, context.session.address],
      [names.since, when(fleet.listeningSince, now)],
      [names.resumed, TEXT.resumed[String(context.session.resumed)] ?? WORDS.units.none],
      [names.taken, number(fleet.messages.taken)],
      [names.superseded, number(fleet.messages.superseded)],
      [names.bad, number(bad)],
      [names.stations, number(fleet.stations.size)],
      [names.studies, number(fleet.studies.list.length)],
      [names.space, space || WORDS.units.none],
      [names.frames, frames(context.drawing.figures())],
      [names.slices, frames(context.slices.figures())],
    ]);
    fill(counts, JSON.stringify([...fleet.bad.counts]), () =>
      [...fleet.bad.counts].map(([reason, count]) => element("li", "", `${number(count)} ${TEXT.bad_reasons[reason]}`)));
    table.draw(fleet.bad.last.map((one, i) => ({ ...one, index: bad - i })), now);
  };
  return { root, title: TEXT.heading, draw };
}
