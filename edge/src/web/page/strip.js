// The views of an answered study side by side: each with its picture, its own answer and how sure. One is chosen.
import { TEXT } from "../text.js";
import { attributes, element } from "./dom.js";
import { shape } from "./shapes.js";
import { thumbnail } from "./views.js";
import { fill, percent } from "./words.js";

/** What a view counts as by itself: an answer, not used, or scored where no answer is given. */
function kindOf({ answer, state }) {
  if (state !== "scored") return "rejected";
  return answer || "plain";
}

function tab({ image, index }) {
  const kind = kindOf(image);
  const name = fill(TEXT.view.name, { index });
  const word = { rejected: TEXT.answer.unused, plain: TEXT.answer.withheld }[kind] || TEXT.answers[kind];
  const sure = image.probability === null ? "" : percent(image.probability);
  const words = element(
    "span",
    "words",
    element("span", "which", name),
    element("span", "word", word),
    element("span", "sure", shape(kind), " ", sure),
  );
  return attributes(element("button", "tab " + kind, thumbnail(image, index), words), {
    type: "button", role: "tab", "aria-label": [name, word, sure].filter(Boolean).join(", "), "aria-controls": "viewer",
  });
}

/**
 * `views` are `{image, index}`; `choose` is given the one that was chosen, and whether by a finger. The first one is, to
 * begin with.
 */
export function strip(views, choose) {
  const tabs = views.map(tab);
  const mark = (chosen) => tabs.forEach((one, position) => {
    attributes(one, { "aria-selected": String(position === chosen), tabindex: position === chosen ? "0" : "-1" });
  });
  const take = (position, touched) => {
    mark(position);
    choose(views[position], touched);
  };
  const node = attributes(element("div", "strip", ...tabs), { role: "tablist", "aria-label": TEXT.answer.views });
  tabs.forEach((one, position) => one.addEventListener("click", () => take(position, true)));
  node.addEventListener("keydown", (event) => {
    const here = tabs.indexOf(document.activeElement);
    const keys = {
      ArrowLeft: here - 1, ArrowUp: here - 1, ArrowRight: here + 1, ArrowDown: here + 1, Home: 0, End: tabs.length - 1,
    };
    if (here < 0 || keys[event.key] === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const next = (keys[event.key] + tabs.length) % tabs.length;
    tabs[next].focus();
    take(next, false);
  });
  mark(0);
  return node;
}
