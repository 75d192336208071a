// The page: the band, the way between screens, and what holds for all of them.
import { history } from "./page/history.js";
import { home } from "./page/home.js";
import { element } from "./page/dom.js";
import { live, start, watch } from "./page/live.js";
import { openStudy, register } from "./page/open.js";
import { outbox } from "./page/outbox.js";
import { settings } from "./page/settings.js";
import { shape } from "./page/shapes.js";
import { study } from "./page/study.js";
import { fill, when } from "./page/words.js";
import { TEXT } from "./text.js";

/** `[pattern, screen, its place in the navigation]`. */
const SCREENS = [
  [/^#\/new$/, openStudy, "open"],
  [/^#\/register\/([^/]+)$/, register, "open"],
  [/^#\/study\/([^/]+)$/, study, "history"],
  [/^#\/history$/, history, "history"],
  [/^#\/outbox$/, outbox, "home"],
  [/^#\/settings$/, settings, "settings"],
];
const NAVIGATION = [
  ["home", "#/", "home"],
  ["open", "#/new", "plus"],
  ["history", "#/history", "history"],
  ["settings", "#/settings", "settings"],
];

const byId = (id) => document.getElementById(id);
let screen = null;

function navigation() {
  byId("navigation").setAttribute("aria-label", TEXT.nav.label);
  byId("navigation").replaceChildren(
    ...NAVIGATION.map(([name, address, sign]) => {
      const link = element("a", "", shape(sign), element("span", "", TEXT.nav[name]));
      link.href = address;
      link.dataset.name = name;
      return link;
    }),
  );
}

function go() {
  const found = SCREENS.map(([pattern, make, place]) => [pattern.exec(location.hash), make, place]).find(([match]) => match);
  const [match, make, place] = found || [null, home, "home"];
  screen?.end?.();
  screen = match?.[1] === undefined ? make() : make(decodeURIComponent(match[1]));
  byId("main").replaceChildren(screen.node);
  byId("main").scrollTop = 0;
  scrollTo(0, 0);
  for (const link of byId("navigation").children) {
    if (link.dataset.name === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  showBands();
  (screen.focus || screen.heading).focus({ preventScroll: true });
}

function showBands() {
  const { station, silent, answered } = live;
  document.title = [screen.title, station?.station, TEXT.title].filter(Boolean).join(" \u00b7 ");
  byId("demonstration").hidden = !station?.demonstration;
  byId("name").textContent = station?.station || "";
  const words = silent ? fill(TEXT.silent, { time: answered ? when(answered) : "\u2013" }) : "";
  if (byId("silent_what").textContent !== words) byId("silent_what").textContent = words;
  byId("silent").hidden = !silent;
}

document.documentElement.lang = TEXT.lang;
byId("demonstration").textContent = TEXT.demonstration;
byId("notice").textContent = TEXT.notice;
byId("silent_todo").textContent = TEXT.silent_todo;
new ResizeObserver(([bands]) => {
  document.documentElement.style.setProperty("--bands", bands.contentRect.height + "px");
}).observe(byId("bands"));
navigation();
go();
addEventListener("hashchange", go);
watch(() => {
  showBands();
  screen.update();
});
start();
