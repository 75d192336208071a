// The station: new study, what is wrong, the newest studies.
import { TEXT } from "../text.js";
import { studyRows } from "./cards.js";
import { attributes, element, keyed } from "./dom.js";
import { lightRow, lights } from "./lights.js";
import { live, newest } from "./live.js";
import { shape } from "./shapes.js";

const SHOWN_MAX = 12;

export function home() {
  const open = element("a", "button primary huge", shape("plus"), element("span", "words", TEXT.home.open));
  open.href = "#/new";
  const lamps = attributes(element("ul", "lights"), { "aria-label": TEXT.home.lights });
  const none = element("p", "empty", TEXT.home.none);
  const rows = element("ul", "rows");
  const older = element("a", "button wide", TEXT.home.older);
  older.href = "#/history";
  const heading = attributes(element("h1", "unseen", TEXT.home.heading), { tabindex: "-1" });
  const made = element(
    "div",
    "home",
    heading,
    element("div", "start", open),
    element("section", "state", element("h2", "unseen", TEXT.home.lights), lamps),
    element("section", "newest", element("h2", "", TEXT.home.newest), none, rows, older),
  );
  const update = () => {
    if (live.station) {
      const all = lights(live.station);
      keyed(lamps, all, (light) => light.name, JSON.stringify, lightRow);
      made.classList.toggle("trouble", all.some((light) => light.kind === "bad"));
    }
    const studies = newest().slice(0, SHOWN_MAX);
    none.hidden = studies.length > 0 || live.answered === null;
    older.hidden = studies.length === 0;
    keyed(rows, studies, studyRows.key, studyRows.signature, studyRows.build);
  };
  update();
  return { node: made, heading, title: TEXT.home.heading, update };
}
