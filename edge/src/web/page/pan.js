// A layer that is moved and magnified inside its stage: by fingers, mouse, wheel, keys and buttons.

const ZOOM_STEP = 1.5;
const ZOOM_MAX = 12;
/** What a double tap on all of the picture magnifies by. */
const ZOOM_TAP = 2;
const MOVE_PX = 60;
const WHEEL_STEP = 0.002;
/** Longest touch that is a tap, and longest pause between two that are one double tap. */
const TAP_MS = 350;
/** How far a tap may slip, and how far the second may be from the first: gloves are thick. */
const SLIP_PX = 12;
const TWICE_PX = 40;

/** All of it, in the middle. */
export const fitted = () => ({ zoom: 1, x: 0, y: 0 });

/** Makes `layer` movable inside `stage`. */
export function pannable(stage, layer) {
  const size = { width: 0, height: 0 };
  /** Magnification over "all of it fits", and the layer's middle against the stage's, in pixels. */
  let now = fitted();

  const fitting = () => Math.min(stage.clientWidth / size.width, stage.clientHeight / size.height);

  function place() {
    if (size.width === 0 || stage.clientWidth === 0) return;
    const scale = fitting() * now.zoom;
    const beyond = (layerPx, stagePx) => Math.max(0, (layerPx * scale - stagePx) / 2);
    const [across, down] = [beyond(size.width, stage.clientWidth), beyond(size.height, stage.clientHeight)];
    now.x = Math.min(Math.max(now.x, -across), across);
    now.y = Math.min(Math.max(now.y, -down), down);
    const left = (stage.clientWidth - size.width * scale) / 2 + now.x;
    const top = (stage.clientHeight - size.height * scale) / 2 + now.y;
    layer.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    stage.dataset.zoom = now.zoom.toFixed(2);
    // While all of it is seen, one finger on it scrolls the page; two are never the browser's.
    stage.style.touchAction = now.zoom > 1 ? "none" : "pan-y";
  }

  /** Magnifies by a factor; the point `(x, y)`, from the stage's middle, stays where it is. */
  function magnify(factor, x = 0, y = 0) {
    const zoom = Math.min(Math.max(now.zoom * factor, 1), ZOOM_MAX);
    const share = zoom / now.zoom;
    now.x = x - (x - now.x) * share;
    now.y = y - (y - now.y) * share;
    now.zoom = zoom;
    place();
  }

  function fit() {
    Object.assign(now, fitted());
    place();
  }

  function move(x, y) {
    now.x += x;
    now.y += y;
    place();
  }

  const fromMiddle = (x, y) => {
    const box = stage.getBoundingClientRect();
    return [x - box.left - box.width / 2, y - box.top - box.height / 2];
  };

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    magnify(Math.exp(-event.deltaY * WHEEL_STEP), ...fromMiddle(event.clientX, event.clientY));
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => move(MOVE_PX, 0),
      ArrowRight: () => move(-MOVE_PX, 0),
      ArrowUp: () => move(0, MOVE_PX),
      ArrowDown: () => move(0, -MOVE_PX),
      "+": () => magnify(ZOOM_STEP),
      "=": () => magnify(ZOOM_STEP),
      "-": () => magnify(1 / ZOOM_STEP),
      0: fit,
    };
    if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  touchable(stage, {
    move,
    // One step, kept within bounds once: what a single finger of the two has done is not yet where both will be.
    pinch: (factor, middle, moved) => {
      now.x += moved.x;
      now.y += moved.y;
      magnify(factor, ...fromMiddle(middle.x, middle.y));
    },
    twice: (x, y) => (now.zoom > 1 ? fit() : magnify(ZOOM_TAP, ...fromMiddle(x, y))),
  });
  new ResizeObserver(place).observe(stage);

  return {
    /** Takes a layer of another size, at a place that is kept up to date from then on. */
    show(width, height, at) {
      Object.assign(size, { width, height });
      layer.style.width = width + "px";
      layer.style.height = height + "px";
      now = at;
      place();
    },
    /** In for a positive number of steps, out for a negative one. */
    zoom: (steps) => magnify(ZOOM_STEP ** steps),
    fit,
  };
}

/**
 * What one or two fingers, or the mouse, do on `node`: `move(x, y)` by pixels, `pinch(factor, middle, moved)` about the
 * fingers' middle, which has moved, too, and `twice(x, y)` for a double tap.
 */
function touchable(node, { move, pinch, twice }) {
  const fingers = new Map();
  /** The touch that may become a tap, and the tap before it. */
  let tap = null;
  let before = null;

  const away = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);
  const spread = () => {
    const [one, other] = [...fingers.values()];
    return { apart: away(one, other), x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
  };
  const where = (event) => ({ x: event.clientX, y: event.clientY });

  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || fingers.size === 2) return;
    node.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, where(event));
    tap = fingers.size === 1 ? { ...where(event), at_ms: event.timeStamp } : null;
  });
  node.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const here = where(event);
    if (tap && away(tap, here) > SLIP_PX) tap = null;
    if (fingers.size === 1) {
      const last = fingers.get(event.pointerId);
      fingers.set(event.pointerId, here);
      move(here.x - last.x, here.y - last.y);
      return;
    }
    const old = spread();
    fingers.set(event.pointerId, here);
    const now = spread();
    const factor = old.apart > 0 ? now.apart / old.apart : 1;
    pinch(factor, now, { x: now.x - old.x, y: now.y - old.y });
  });
  node.addEventListener("pointerup", (event) => {
    if (!fingers.delete(event.pointerId) || !tap) return;
    const tapped = event.timeStamp - tap.at_ms <= TAP_MS ? tap : null;
    const second = tapped && before && tapped.at_ms - before.at_ms <= 2 * TAP_MS && away(tapped, before) <= TWICE_PX;
    if (second) twice(tapped.x, tapped.y);
    before = second ? null : tapped;
    tap = null;
  });
  // The browser has taken the finger to scroll with.
  node.addEventListener("pointercancel", (event) => {
    fingers.delete(event.pointerId);
    tap = null;
  });
}
