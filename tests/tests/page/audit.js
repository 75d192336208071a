// What is wrong with the page as it is now: sideways scrolling, small targets, faint text, nameless controls. The body of
// a function that gives a list of texts.
const TARGET_MIN_PX = 44;
const CONTRAST_MIN = 4.5;
const SHAPE_CONTRAST_MIN = 3;
const found = [];

const shown = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".unseen");
const called = (node) => `<${node.tagName.toLowerCase()} class="${node.getAttribute("class") || ""}"> ${(node.textContent || node.name || "").trim().slice(0, 40)}`;

const wide = document.documentElement.scrollWidth;
if (wide > innerWidth) found.push(`the page is ${wide} px wide on a screen of ${innerWidth} px`);
for (const node of document.querySelectorAll("body *")) {
  const box = node.getBoundingClientRect();
  if (shown(node) && !node.closest(".stage") && (box.right > innerWidth + 1 || box.left < -1)) {
    found.push(`${called(node)} reaches from ${box.left} to ${box.right} px`);
  }
}

for (const node of document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")) {
  if (!shown(node)) continue;
  const box = node.getBoundingClientRect();
  if (box.height < TARGET_MIN_PX || box.width < TARGET_MIN_PX) found.push(`${called(node)} is ${box.width} x ${box.height} px`);
  const label = [...(node.labels || [])].map((one) => one.textContent).join("");
  if (!(node.textContent || node.getAttribute("aria-label") || label).trim()) found.push(`${called(node)} has no name`);
}
for (const picture of document.querySelectorAll("img")) {
  if (!picture.hasAttribute("alt")) found.push("an image without words in its place");
}
const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
if (new Set(ids).size < ids.length) found.push("an id is there twice: " + ids.join(" "));

/** `[red, green, blue, alpha]` of a computed colour. */
function parts(colour) {
  const numbers = colour.match(/[\d.]+/g).map(Number);
  if (!colour.startsWith("rgb")) throw new Error("a colour that is not understood: " + colour);
  return [numbers[0], numbers[1], numbers[2], numbers.length > 3 ? numbers[3] : 1];
}

const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);

function beneath(node) {
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.backgroundImage !== "none") throw new Error(called(at) + " has a picture behind its text");
    if (Number(style.opacity) < 1) throw new Error(called(at) + " is seen through");
    layers.push(parts(style.backgroundColor));
    if (layers.at(-1)[3] === 1) break;
  }
  return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1]);
}

function luminance([red, green, blue]) {
  const linear = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

function contrast(colour, node) {
  const below = beneath(node);
  const [one, other] = [luminance(over(parts(colour), below)), luminance(below)];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}

let texts = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !shown(node)) continue;
  texts += 1;
  const ratio = contrast(getComputedStyle(node).color, node);
  if (ratio < CONTRAST_MIN) found.push(`${called(node)} has a contrast of ${ratio.toFixed(2)}`);
}
for (const input of document.querySelectorAll("input.text")) {
  const ratio = contrast(getComputedStyle(input, "::placeholder").color, input);
  if (shown(input) && ratio < CONTRAST_MIN) found.push(`${called(input)} has a placeholder of contrast ${ratio.toFixed(2)}`);
}
for (const shape of document.querySelectorAll("svg.shape")) {
  if (!shown(shape)) continue;
  const ratio = contrast(getComputedStyle(shape).color, shape.parentElement);
  if (ratio < SHAPE_CONTRAST_MIN) found.push(`a shape in ${called(shape.parentElement)} has a contrast of ${ratio.toFixed(2)}`);
}
if (texts === 0) found.push("there is no text at all");
return found;
