// What the camera sees, a few times a second, while somebody looks.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { attributes, element } from "./dom.js";
import { fill } from "./words.js";

const EVERY_MS = 500;
const AFTER_FAILURE_MS = 2000;

export function preview() {
  const canvas = attributes(element("canvas", ""), { role: "img", "aria-label": TEXT.study.preview });
  const said = attributes(element("p", "soft"), { role: "status" });
  const node = element("div", "preview", canvas, said);
  let seen = false;
  let ended = false;
  let held = false;
  const eye = new IntersectionObserver((entries) => { seen = entries.at(-1).isIntersecting; });
  eye.observe(node);

  async function look() {
    if (ended) return;
    let pause_ms = EVERY_MS;
    if (seen && !held && !document.hidden) {
      try {
        const frame = await createImageBitmap(await api.preview());
        [canvas.width, canvas.height] = [frame.width, frame.height];
        canvas.getContext("2d").drawImage(frame, 0, 0);
        frame.close();
        said.textContent = "";
      } catch (error) {
        said.textContent = fill(TEXT.study.preview_off, { why: error.message });
        pause_ms = AFTER_FAILURE_MS;
      }
    }
    setTimeout(look, pause_ms);
  }
  look();
  return {
    node,
    /** While a radiograph is taken the camera is left alone. */
    hold: (on) => { held = on; },
    end: () => { ended = true; eye.disconnect(); },
  };
}
