// Questions before something that cannot be taken back.
import { TEXT } from "../text.js";
import { attributes, element } from "./dom.js";

/**
 * Asks; gives what was entered (an empty string where nothing is to be entered), or null when it was cancelled.
 * `field` is `{label, length_max}` where something is to be entered.
 */
export function ask({ title, text, yes, field, grave }) {
  return new Promise((done) => {
    const input = field && attributes(element("input", "text"), {
      id: "entered", required: true, maxlength: field.length_max, autocomplete: "off", spellcheck: "false",
    });
    const cancel = attributes(element("button", "big", TEXT.study.cancel), { type: "button" });
    const accept = attributes(element("button", "big " + (grave ? "grave" : "primary"), yes), { type: "submit" });
    const form = element(
      "form",
      "",
      attributes(element("h2", "", title), { id: "asked" }),
      element("p", "", text),
      field ? attributes(element("label", "", field.label), { for: "entered" }) : null,
      input,
      element("div", "buttons", cancel, accept),
    );
    const dialog = attributes(element("dialog", "", form), { "aria-labelledby": "asked" });
    let entered = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      entered = input ? input.value.trim() : "";
      if (input && entered === "") return input.focus();
      dialog.close();
    });
    cancel.addEventListener("click", () => dialog.close());
    const leave = () => dialog.close();
    addEventListener("hashchange", leave);
    dialog.addEventListener("close", () => {
      removeEventListener("hashchange", leave);
      dialog.remove();
      done(entered);
    });
    document.body.append(dialog);
    dialog.showModal();
    (input || cancel).focus();
  });
}
