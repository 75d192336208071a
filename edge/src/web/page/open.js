// A new study: what is radiographed, and then its number for the register book.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { address } from "./cards.js";
import { attributes, complaint, element, perform } from "./dom.js";
import { live, put } from "./live.js";
import { bodyPart } from "./words.js";

function tile(type) {
  const choice = attributes(element("input", "cover"), { type: "radio", name: "study_type", value: type });
  return element("label", "tile", choice, element("span", "words", bodyPart(type)));
}

/** The model's own types, and behind one more tile those it is not meant for. */
function allTiles(meant) {
  const others = TEXT.other_types.filter((type) => !meant.includes(type));
  const rest = element("div", "others", element("p", "soft", TEXT.open.other_note), element("div", "tiles", ...others.map(tile)));
  rest.id = "others";
  rest.hidden = true;
  const more = attributes(element("button", "tile more", TEXT.open.other), {
    type: "button", "aria-expanded": "false", "aria-controls": "others",
  });
  more.addEventListener("click", () => {
    rest.hidden = !rest.hidden;
    more.setAttribute("aria-expanded", String(!rest.hidden));
    if (!rest.hidden) rest.scrollIntoView({ block: "nearest" });
  });
  return [element("div", "tiles", ...meant.map(tile), more), rest];
}

export function openStudy() {
  const heading = attributes(element("h1", "", TEXT.open.which), { tabindex: "-1" });
  const said = complaint();
  const choices = attributes(element("div", "choices"), { role: "radiogroup", "aria-label": TEXT.open.which });
  const reference = attributes(element("input", "text"), {
    id: "reference", name: "reference", maxlength: "64", autocomplete: "off", spellcheck: "false",
  });
  const label = attributes(element("label", "soft", TEXT.open.reference), { for: "reference" });
  const button = attributes(element("button", "primary big", TEXT.open.button), { type: "submit" });
  const end = element("div", "bar", element("div", "field", label, reference), button);
  const form = element("form", "open", heading, choices, said, end);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    perform(button, async () => {
      const type = new FormData(form).get("study_type");
      if (!type) throw new Error(TEXT.open.missing);
      const study = await api.open(type, reference.value.trim() || undefined);
      put(study);
      location.hash = "#/register/" + encodeURIComponent(study.number);
    }, said, TEXT.open.busy);
  });
  const update = () => {
    if (choices.children.length > 0 || !live.station) return;
    choices.append(...allTiles(live.station.study_types));
  };
  update();
  return { node: form, heading, title: TEXT.open.heading, update };
}

/** The number, as large as it goes. */
export function register(number) {
  const heading = attributes(element("h1", "", TEXT.register.heading), { tabindex: "-1" });
  const go = element("a", "button primary huge", TEXT.register.button);
  go.href = address(number);
  const node = element(
    "div",
    "register",
    heading,
    element("p", "enormous", number),
    element("p", "soft", TEXT.register.why),
    go,
  );
  return { node, heading, focus: go, title: number, update: () => {} };
}
