// What is asked before there is anything to show.
import { ownAddress } from "../io/broker.ts";
import type { Login } from "../io/storage.ts";
import { WORDS } from "../words.ts";
import { attributes, button, element, labelled, tick } from "./dom.ts";

const TEXT = WORDS.login;

/** Asks for a login; `why` says what was wrong with the last one. */
export function askLogin(place: HTMLElement, why: string, known: Login | null): Promise<{ login: Login; keep: boolean }> {
  const user = attributes(element("input", "text"), { autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false" });
  const password = attributes(element("input", "text"), { type: "password", autocomplete: "current-password" });
  const address = attributes(element("input", "text"), { type: "url", required: true, spellcheck: "false" });
  const keep = tick(TEXT.keep, () => undefined);
  user.value = known?.user ?? "";
  address.value = known?.address ?? ownAddress();
  const send = button(TEXT.button, "primary", () => undefined);
  send.type = "submit";
  const plain = element("p", "warning", TEXT.plain);
  const check = (): void => void (plain.hidden = !address.value.startsWith("ws:"));
  address.addEventListener("input", check);
  check();
  const form = element("form", "card login",
    element("h1", "", TEXT.heading), attributes(element("p", "complaint", why), { role: "alert", hidden: why === "" }),
    labelled(TEXT.user, user), labelled(TEXT.password, password), labelled(TEXT.address, address), plain,
    keep.root, element("p", "soft", TEXT.keep_note), send);
  place.replaceChildren(form);
  user.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send.disabled = true;
      send.textContent = TEXT.busy;
      resolve({ login: { address: address.value.trim(), user: user.value.trim(), password: password.value }, keep: keep.input.checked });
    });
  });
}

/** Says that another tab runs, and waits until this one is wanted instead. */
export function askHere(place: HTMLElement): Promise<void> {
  const text = WORDS.elsewhere;
  return new Promise((resolve) => {
    const here = button(text.here, "primary", () => resolve());
    place.replaceChildren(element("section", "card login", element("h1", "", text.heading), element("p", "", text.text), here));
    here.focus();
  });
}
