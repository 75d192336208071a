// A radiograph with the model's colours over it: zoom and pan by touch, wheel, buttons and keys.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { attributes, element } from "./dom.js";
import { draw, hasSigns, scaleOf } from "./heat.js";
import { pannable } from "./pan.js";
import { fill, percent } from "./words.js";

const PICTURE_PX = 1600;
const OPACITY_AT_FIRST = 60;
/** The slider's place outlives a screen: who wants to see the bone alone wants it for the next study too. */
let opacity = OPACITY_AT_FIRST;

/** `views` are `{image, index}` of scored images. */
export function viewer(views, aspect) {
  const maps = views.map(({ image }) => image.activation_map).filter(Boolean);
  const scale = scaleOf(maps);
  const canvas = element("canvas", "heat");
  const picture = attributes(element("img", ""), { alt: "", draggable: "false" });
  const layer = element("div", "layer", picture, canvas);
  const said = attributes(element("p", "said"), { role: "status" });
  const stage = attributes(element("div", "stage", layer, said), { tabindex: "0", role: "group" });
  const pan = pannable(stage, layer);
  const legend = element("p", "soft legend");
  let shown = views[0].image;

  const paint = () => {
    const map = shown.activation_map;
    canvas.hidden = !map || picture.naturalWidth === 0;
    if (canvas.hidden) return;
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    draw(canvas, map, { aspect, width, height, scale, opacity: opacity / 100 });
  };
  picture.addEventListener("load", () => {
    said.textContent = "";
    pan.size(picture.naturalWidth, picture.naturalHeight);
    paint();
  });
  picture.addEventListener("error", () => { said.textContent = TEXT.viewer.gone; });

  const tabs = element("div", "tabs");
  const show = ({ image, index }) => {
    shown = image;
    said.textContent = TEXT.viewer.loading;
    canvas.hidden = true;
    stage.setAttribute("aria-label", fill(TEXT.viewer.stage, { index }));
    legend.textContent = image.activation_map && hasSigns(image.activation_map) ? TEXT.viewer.legend : TEXT.viewer.none;
    if (image.kept) picture.src = api.picture(image.image_id, PICTURE_PX);
    else said.textContent = TEXT.viewer.gone;
    [...tabs.children].forEach((tab, position) => tab.setAttribute("aria-pressed", String(views[position].index === index)));
  };
  for (const view of views) {
    const name = fill(TEXT.answer.view, { index: view.index });
    const tab = element("button", "tab", element("span", "", name), " ", element("strong", "", percent(view.image.probability)));
    tab.type = "button";
    tab.addEventListener("click", () => show(view));
    tabs.append(tab);
  }
  show(views[0]);
  const frame = element("div", "frame", stage, element("div", "tools", ...zoomButtons(pan)));
  return element("section", "viewer", tabs, frame, slider(paint), legend);
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

function slider(paint) {
  const input = attributes(element("input", ""), { type: "range", min: "0", max: "100", step: "5", id: "opacity" });
  input.value = String(opacity);
  input.addEventListener("input", () => {
    opacity = Number(input.value);
    paint();
  });
  return element("label", "slider", element("span", "", TEXT.viewer.opacity), input);
}
