// All studies, the newest first, with search.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { studyRows } from "./cards.js";
import { action, attributes, complaint, element, keyed, perform } from "./dom.js";
import { live } from "./live.js";
import { fill, many } from "./words.js";

const PAGE = 20;
const TYPING_MS = 300;
/** What was searched for, so that one comes back to it from a study. */
let query = "";

export function history() {
  const heading = attributes(element("h1", "unseen", TEXT.history.heading), { tabindex: "-1" });
  const search = attributes(element("input", "text search"), {
    type: "search", "aria-label": TEXT.history.search, placeholder: TEXT.history.hint, autocomplete: "off", spellcheck: "false",
  });
  search.value = query;
  const said = complaint();
  const count = attributes(element("p", "soft"), { role: "status" });
  const rows = element("ul", "rows");
  const found = new Map();
  let next = null;
  let asked = 0;
  let typing = null;
  const more = action(TEXT.history.more, "wide", () => load(next), said, TEXT.history.busy);

  async function load(before) {
    const mine = (asked += 1);
    const page = await api.studies({ limit: PAGE, ...(query && { query }), ...(before !== null && { before }) });
    if (mine !== asked) return;
    if (before === null) found.clear();
    for (const study of page.studies) found.set(study.number, study);
    next = page.next;
    show();
  }
  function show() {
    keyed(rows, [...found.values()], studyRows.key, studyRows.signature, studyRows.build);
    more.hidden = next === null;
    const words = next === null ? many(found.size, TEXT.history.count_one, TEXT.history.count_many) : fill(TEXT.history.count_more, { count: found.size });
    count.textContent = found.size === 0 ? TEXT.history.none : words;
  }
  const reload = () => perform(search, () => load(null), said);
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      query = search.value.trim();
      search.removeAttribute("aria-busy");
      reload();
    }, TYPING_MS);
  });
  more.hidden = true;
  reload();

  let known = new Set(live.studies.keys());
  const update = () => {
    // What is listed is kept new; a study that is new itself is asked for.
    for (const [number, study] of live.studies) if (found.has(number)) found.set(number, study);
    const numbers = new Set(live.studies.keys());
    const other = [...numbers].some((number) => !known.has(number)) || [...known].some((number) => !numbers.has(number));
    known = numbers;
    if (other && found.size <= PAGE) reload();
    else if (found.size > 0) show();
  };
  const node = element("div", "history", heading, search, count, said, rows, more);
  return { node, heading, title: TEXT.history.heading, update, end: () => clearTimeout(typing) };
}
