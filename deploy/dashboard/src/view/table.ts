// A table of any length: only the rows that are seen, and a few around them, are in the page. Rows have one height; a row stays
// the same element while its item is shown, so that the focus and the reader of screens are left in peace; later it shows another.
import { attributes, button, element, say } from "./dom.ts";

/** Height of a row in pixels, and of the head; style.css has the same. */
const ROW_PX = 45;
/** Rows beyond either end of what is seen. */
const MARGIN_ROWS = 6;

export interface Column<Item> {
  key: string;
  title: string;
  /** Also the class of its cells: `wide` columns go first where the screen is narrow. */
  className?: string;
  /** Puts an item into its cell; called again when something may have changed. */
  draw: (cell: HTMLTableCellElement, item: Item, now: number) => void;
  /** Orders items; a column without it cannot be sorted by. */
  order?: (a: Item, b: Item) => number;
}

export interface Options<Item> {
  label: string;
  columns: readonly Column<Item>[];
  key: (item: Item) => string;
  /** Draws again. */
  ask: () => void;
  /** What is said in place of rows. */
  empty: () => string;
  /** Whether new items come on top, so that what one reads must not move. */
  growsOnTop?: boolean;
  /** Most rows that are seen at once, where the table stands among other things; else it fills what there is. */
  rows?: number;
}

export class Table<Item> {
  readonly root: HTMLElement;
  readonly #scroll: HTMLElement;
  readonly #body = element("tbody");
  readonly #table = element("table");
  readonly #above = element("tr", "space");
  readonly #below = element("tr", "space");
  readonly #empty = element("p", "empty");
  readonly #rows = new Map<string, HTMLTableRowElement>();
  /** Rows that are out of sight, to be used again. */
  readonly #spare: HTMLTableRowElement[] = [];
  readonly #heads: HTMLTableCellElement[];
  #items: readonly Item[] = [];
  #sort: { column: Column<Item>; back: boolean } | null = null;

  constructor(private readonly options: Options<Item>) {
    this.#heads = options.columns.map((column) => this.#head(column));
    const head = element("thead", "", element("tr", "", ...this.#heads));
    for (const space of [this.#above, this.#below]) {
      space.append(element("td"));
      space.setAttribute("aria-hidden", "true");
    }
    this.#table.append(head, this.#body);
    this.#scroll = attributes(element("div", "scroll", this.#table), { tabindex: 0, role: "region", "aria-label": options.label });
    this.#scroll.addEventListener("scroll", options.ask, { passive: true });
    this.root = element("div", "table", this.#scroll, this.#empty);
  }

  /** Whether the user has chosen an order. */
  get order(): ((a: Item, b: Item) => number) | null {
    const sort = this.#sort;
    const order = sort?.column.order;
    if (!sort || !order) return null;
    return sort.back ? (a, b) => order(b, a) : order;
  }

  /** Goes back to the first item. */
  top(): void {
    this.#scroll.scrollTop = 0;
    this.#items = [];
  }

  /** Shows items, in this order. */
  draw(items: readonly Item[], now: number): void {
    const grown = items.length - this.#items.length;
    if (this.options.growsOnTop && grown > 0 && this.#items.length > 0 && this.#scroll.scrollTop > ROW_PX) this.#scroll.scrollTop += grown * ROW_PX;
    // What is measured is measured before anything is changed, or the browser would lay everything out twice.
    const first = Math.max(0, Math.floor(this.#scroll.scrollTop / ROW_PX) - MARGIN_ROWS);
    const seen = this.options.rows ?? Math.ceil(this.#scroll.clientHeight / ROW_PX);
    const count = seen + 2 * MARGIN_ROWS;
    if (seen === 0 && items.length > 0) this.options.ask();

    this.#items = items;
    say(this.#empty, items.length === 0 ? this.options.empty() : "");
    this.#scroll.hidden = items.length === 0;
    if (this.options.rows) this.#scroll.style.height = `${(Math.min(this.options.rows, items.length) + 1) * ROW_PX + 2}px`;
    attributes(this.#table, { "aria-rowcount": items.length + 1 });
    const shown = items.slice(first, first + count);
    this.#place(shown, first, now);
    this.#above.style.height = `${first * ROW_PX}px`;
    this.#below.style.height = `${Math.max(0, items.length - first - shown.length) * ROW_PX}px`;
  }

  #place(shown: readonly Item[], first: number, now: number): void {
    const keep = new Set(shown.map(this.options.key));
    for (const [key, row] of this.#rows) {
      if (keep.has(key)) continue;
      // Who has the focus in a row that is scrolled away goes on from the table.
      if (row.contains(document.activeElement)) this.#scroll.focus({ preventScroll: true });
      row.remove();
      this.#rows.delete(key);
      this.#spare.push(row);
    }
    if (!this.#above.isConnected) this.#body.append(this.#above, this.#below);
    let before: Element = this.#above;
    shown.forEach((item, i) => {
      const key = this.options.key(item);
      const row = this.#rows.get(key) ?? this.#spare.pop() ?? element("tr", "", ...this.options.columns.map((column) => element("td", column.className)));
      this.#rows.set(key, row);
      attributes(row, { "aria-rowindex": first + i + 2 });
      this.options.columns.forEach((column, c) => {
        const cell = row.cells[c];
        if (cell) column.draw(cell, item, now);
      });
      if (before.nextElementSibling !== row) before.after(row);
      before = row;
    });
  }

  #head(column: Column<Item>): HTMLTableCellElement {
    const head = attributes(element("th", column.className), { scope: "col" });
    if (!column.order) {
      head.append(column.title);
      return head;
    }
    head.append(button(column.title, "sort", () => {
      this.#sort = this.#sort?.column !== column ? { column, back: false } : this.#sort.back ? null : { column, back: true };
      for (const other of this.#heads) other.removeAttribute("aria-sort");
      if (this.#sort) head.setAttribute("aria-sort", this.#sort.back ? "descending" : "ascending");
      this.options.ask();
    }));
    return head;
  }
}
