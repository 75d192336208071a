// Elements. Text only ever becomes text: nothing here, or in any other file of the page, reads a string as HTML.

/** An element with a class and children: nodes, strings, or nothing. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Sets attributes; one that is null or false is left away. */
export function attributes(node, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

/** Where a failed action says why, beside it. */
export function complaint() {
  return attributes(element("p", "complaint"), { role: "alert" });
}

/** A button that does `work`, says `busy` meanwhile, and shows in `said` why it was not done. */
export function action(label, className, work, said, busy) {
  const made = element("button", className, label);
  made.type = "button";
  made.addEventListener("click", () => perform(made, work, said, busy));
  return made;
}

/** Does `work` once at a time for a control. */
export async function perform(control, work, said, busy) {
  if (control.getAttribute("aria-busy") === "true") return;
  const words = control.querySelector(".words") || control;
  const label = words.textContent;
  control.setAttribute("aria-busy", "true");
  if (busy) words.textContent = busy;
  said.textContent = "";
  try {
    await work();
  } catch (error) {
    said.textContent = error.message;
    said.scrollIntoView({ block: "nearest" });
  } finally {
    if (busy) words.textContent = label;
    control.removeAttribute("aria-busy");
  }
}

/** A button-like label over a file input, which the keyboard and the reader of screens see as what it is. */
export function filePicker(label, className, take, said, busy) {
  const input = attributes(element("input", "cover"), { type: "file", "aria-label": label });
  const made = element("label", "file " + className, element("span", "words", label), input);
  input.addEventListener("change", () => {
    const file = input.files[0];
    if (!file) return;
    perform(made, () => take(file), said, busy).finally(() => { input.value = ""; });
  });
  return made;
}

const signs = new WeakMap();

/**
 * Makes `parent` hold one node per item, in order. A node whose signature is unchanged stays untouched, so that
 * focus, pictures and the reader of screens are left in peace.
 */
export function keyed(parent, items, key, signature, build) {
  const focused = document.activeElement;
  const holder = parent.contains(focused) ? focused.closest("[data-key]") : null;
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const [name, sign] = [String(key(item)), signature(item)];
    const before = old.get(name);
    old.delete(name);
    if (before && signs.get(before) === sign) return before;
    const made = build(item);
    made.dataset.key = name;
    signs.set(made, sign);
    if (before) before.replaceWith(made);
    return made;
  });
  for (const gone of old.values()) gone.remove();
  wanted.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] || null);
  });
  if (holder && !document.contains(focused)) refocus(parent, holder, focused);
}

function refocus(parent, holder, lost) {
  const now = [...parent.children].find((child) => child.dataset.key === holder.dataset.key);
  if (!now) return;
  const same = [...now.querySelectorAll("button, a, input")].find((node) => node.textContent === lost.textContent);
  (same || (now.matches("a, button") ? now : now.querySelector("button, a, input")))?.focus();
}

let announced = null;

/** Says something to the reader of screens, without showing it. */
export function say(text) {
  announced = announced || document.getElementById("said");
  announced.textContent = "";
  setTimeout(() => { announced.textContent = text; }, 50);
}
