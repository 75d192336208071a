// Elements. Text only ever becomes text: nothing here, or in any other file of the page, reads a string as HTML.

type Child = Node | string | null;

/** An element with a class and children. */
export function element<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, className = "", ...children: Child[]): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function shape(tag: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

export function attributes<Node extends Element>(node: Node, values: Record<string, string | number | boolean | null>): Node {
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : String(value));
  }
  return node;
}

/** Sets a text, and leaves the page alone when it is there already. */
export function say(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets children, unless they were made from the same `sign` already. */
export function fill(node: Element & { sign?: string }, sign: string, make: () => Child[]): void {
  if (node.sign === sign) return;
  node.sign = sign;
  node.replaceChildren(...make().filter((child) => child !== null));
}

export function button(text: string, className: string, work: () => void): HTMLButtonElement {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", work);
  return made;
}

export function link(text: string, hash: string): HTMLAnchorElement {
  const made = element("a", "", text);
  made.href = hash;
  return made;
}

let ids = 0;

/** A control under its label. */
export function labelled(text: string, control: HTMLInputElement | HTMLSelectElement, className = "field"): HTMLElement {
  ids += 1;
  control.id ||= `field-${ids}`;
  const label = element("label", "", text);
  label.htmlFor = control.id;
  return element("div", className, label, control);
}

export function choice(options: Iterable<readonly [value: string, text: string]>, changed: (value: string) => void): HTMLSelectElement {
  const made = element("select");
  for (const [value, text] of options) made.append(attributes(element("option", "", text), { value }));
  made.addEventListener("change", () => changed(made.value));
  return made;
}

export function tick(text: string, changed: (on: boolean) => void): { root: HTMLElement; input: HTMLInputElement } {
  const input = element("input");
  input.type = "checkbox";
  input.addEventListener("change", () => changed(input.checked));
  return { root: element("label", "tick", input, element("span", "", text)), input };
}
