// A radiograph with the model's colours over it: zoom and pan by touch, wheel, buttons and keys.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { attributes, element } from "./dom.js";
import { draw, hasSigns, scaleOf } from "./heat.js";
import { fitted, pannable } from "./pan.js";
import { found, pictured, whyNot } from "./views.js";
import { fill } from "./words.js";

const PICTURE_PX = 1600;
const OPACITY_AT_FIRST = 60;
/** The slider's place outlives a screen: who wants to see the bone alone wants it for the next study too. */
let opacity = OPACITY_AT_FIRST;

/**
 * `views` are `{image, index}`, scored or not. `show` shows one of them as it was left: each has a magnification, a
 * place and an opacity of its own.
 */
export function viewer(views, aspect) {
  const maps = views.map(({ image }) => image.activation_map).filter(Boolean);
  const scale = scaleOf(maps);
  const left = new Map(views.map((view) => [view, { at: fitted(), opacity }]));
  const canvas = element("canvas", "heat");
  const picture = attributes(element("img", ""), { alt: "", draggable: "false" });
  const layer = element("div", "layer", picture, canvas);
  const said = attributes(element("p", "said"), { role: "status" });
  const stage = attributes(element("div", "stage", layer, said), { tabindex: "0", role: "group" });
  const pan = pannable(stage, layer);
  const legend = element("div", "soft legend");
  let shown = null;

  const paint = () => {
    const map = shown.image.activation_map;
    canvas.hidden = !map;
    if (canvas.hidden) return;
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    draw(canvas, map, { aspect, width, height, scale, opacity: left.get(shown).opacity / 100 });
  };
  const slider = opacitySlider((value) => {
    opacity = left.get(shown).opacity = value;
    if (!layer.hidden) paint();
  });
  picture.addEventListener("load", () => {
    said.textContent = "";
    layer.hidden = false;
    pan.show(picture.naturalWidth, picture.naturalHeight, left.get(shown).at);
    paint();
  });
  picture.addEventListener("error", () => { said.textContent = TEXT.view.gone; });

  /** `touched`: by a finger, which needs to see what it has done. */
  const show = (view, touched) => {
    if (touched) frame.scrollIntoView({ block: "nearest" });
    if (view === shown) return;
    shown = view;
    const { image, index } = view;
    // Nothing of one view is seen, or moved, under the name of another.
    layer.hidden = true;
    stage.setAttribute("aria-label", fill(TEXT.viewer.stage, { index }));
    slider.node.hidden = !image.activation_map;
    slider.set(left.get(view).opacity);
    legend.replaceChildren(...told(image));
    picture.removeAttribute("src");
    if (pictured(image)) {
      said.textContent = TEXT.viewer.loading;
      picture.src = api.picture(image.image_id, PICTURE_PX);
    } else {
      said.textContent = image.kept ? TEXT.view.gone : TEXT.viewer.gone;
    }
  };
  const frame = element("div", "frame", stage, element("div", "tools", ...zoomButtons(pan)));
  show(views[0]);
  const node = attributes(element("section", "viewer", frame, slider.node, legend), { id: "viewer" });
  return { node, show };
}

/** What is to be known of the picture. */
function told({ activation_map: map, rejected }) {
  if (rejected) return [...whyNot(rejected), ...found(rejected)];
  return [element("p", "", map && hasSigns(map) ? TEXT.viewer.legend : TEXT.viewer.none)];
}

function zoomButtons(pan) {
  const button = (sign, name, work) => {
    const made = attributes(element("button", "tool", sign), { type: "button", "aria-label": name, title: name });
    made.addEventListener("click", work);
    return made;
  };
  return [
    button("+", TEXT.viewer.in, () => pan.zoom(1)),
    button("\u2212", TEXT.viewer.out, () => pan.zoom(-1)),
    button(TEXT.viewer.fit, TEXT.viewer.fit, () => pan.fit()),
  ];
}

function opacitySlider(changed) {
  const input = attributes(element("input", ""), { type: "range", min: "0", max: "100", step: "5", id: "opacity" });
  input.addEventListener("input", () => changed(Number(input.value)));
  const node = element("label", "slider", element("span", "", TEXT.viewer.opacity), input);
  return { node, set: (value) => { input.value = String(value); } };
}
