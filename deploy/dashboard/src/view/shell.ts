// The frame around the screens: navigation, what is always said, and which screen the address names.
import { WORDS } from "../words.ts";
import { attributes, element, link, say } from "./dom.ts";
import { number, put, when } from "./format.ts";
import { gapsScreen } from "./gaps.ts";
import { pageScreen } from "./page.ts";
import { ratesScreen } from "./rates.ts";
import { resultsScreen } from "./results.ts";
import type { Context, Screen } from "./screen.ts";
import { stationScreen } from "./station.ts";
import { stationsScreen } from "./stations.ts";

const SCREENS: readonly (readonly [hash: string, name: string, make: (context: Context) => Screen])[] = [
  ["#/", WORDS.nav.stations, stationsScreen],
  ["#/results", WORDS.nav.results, resultsScreen],
  ["#/rates", WORDS.nav.rates, ratesScreen],
  ["#/gaps", WORDS.nav.gaps, gapsScreen],
  ["#/page", WORDS.nav.page, pageScreen],
];
const STATION = "#/station/";
/** A connection that is back sooner than this is not spoken of. */
const LOST_SHOWN_MS = 5_000;

export class Shell {
  readonly #main = attributes(element("main"), { id: "main", tabindex: -1 });
  readonly #state = attributes(element("p", "connection"), { role: "status" });
  readonly #demonstration = element("p", "band demonstration");
  readonly #silent = attributes(element("p", "band silent"), { role: "alert", hidden: true });
  readonly #complaint = attributes(element("p", "band silent"), { role: "alert", hidden: true });
  readonly #links = SCREENS.map(([hash, name]) => link(name, hash));
  readonly #kept = new Map<string, Screen>();
  #screen: Screen | null = null;
  #context: Context | null = null;
  /** Browser's time since when there is no connection; null while there is one. */
  #lostAt: number | null = null;
  #connected = false;

  constructor(body: HTMLElement) {
    document.documentElement.lang = WORDS.lang;
    document.title = WORDS.title;
    const nav = attributes(element("nav", "", ...this.#links), { "aria-label": WORDS.nav.label, hidden: true });
    const header = element("header", "", element("p", "brand", WORDS.title), nav, this.#state);
    body.replaceChildren(element("div", "bands", this.#demonstration, this.#complaint, this.#silent), header, this.#main, element("footer", "", WORDS.notice));
    this.#demonstration.hidden = true;
    window.addEventListener("hashchange", () => this.#go(true));
  }

  /** Where what is asked before the first screen stands. */
  get place(): HTMLElement {
    return this.#main;
  }

  /** Shows the screens. */
  begin(context: Context): void {
    this.#context = context;
    if (!this.#connected) this.#lostAt ??= Date.now();
    for (const one of this.#links) one.parentElement?.removeAttribute("hidden");
    this.#go(false);
  }

  connected(): void {
    this.#connected = true;
    this.#lostAt = null;
  }

  lost(): void {
    if (this.#connected) this.#lostAt = Date.now();
    this.#connected = false;
  }

  /** Says something that is wrong with the page itself. */
  complain(text: string): void {
    say(this.#complaint, text);
    this.#complaint.hidden = false;
  }

  #go(moved: boolean): void {
    const context = this.#context;
    if (!context) return;
    const hash = location.hash || "#/";
    const known = SCREENS.findIndex(([one]) => one === hash);
    const [, , make] = SCREENS[Math.max(0, known)] ?? SCREENS[0] ?? [];
    const screen = this.#kept.get(hash) ?? (hash.startsWith(STATION) ? stationScreen(context, decodeURIComponent(hash.slice(STATION.length))) : make?.(context));
    if (!screen) return;
    // The five screens keep their filters; a station's page is made anew.
    if (known >= 0) this.#kept.set(hash, screen);
    this.#screen = screen;
    this.#links.forEach((one, i) => attributes(one, { "aria-current": i === known ? "page" : null }));
    document.title = `${screen.title} \u2013 ${WORDS.title}`;
    this.#main.replaceChildren(screen.root);
    if (moved) this.#main.focus({ preventScroll: true });
    this.#main.scrollTop = 0;
    context.ask();
  }

  /** Draws what is seen. */
  draw(now: number): void {
    const context = this.#context;
    if (!context) return;
    const { fleet } = context;
    const { on, off, connecting, off_since } = WORDS.connection;
    say(this.#state, this.#connected ? on : context.session.resumed === null ? connecting : off);
    this.#state.className = `connection ${this.#connected ? "good" : "bad"}`;
    this.#silent.hidden = this.#lostAt === null || now - this.#lostAt < LOST_SHOWN_MS;
    if (this.#lostAt !== null) say(this.#silent, put(off_since, { time: when(this.#lostAt, now) }));
    const demonstrations = [...fleet.stations.values()].filter((station) => fleet.isDemonstration(station)).length;
    this.#demonstration.hidden = demonstrations === 0;
    say(this.#demonstration, put(WORDS.demonstration, { count: number(demonstrations), all: number(fleet.stations.size) }));
    this.#screen?.draw(now);
  }
}
