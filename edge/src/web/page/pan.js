// A layer that is moved and magnified inside its stage.

const ZOOM_STEP = 1.5;
const ZOOM_MAX = 12;
const MOVE_PX = 60;
const WHEEL_STEP = 0.002;

/** Makes `layer` movable inside `stage`. */
export function pannable(stage, layer) {
  const size = { width: 0, height: 0 };
  /** Magnification over "all of it fits", and the layer's middle against the stage's, in pixels. */
  const now = { zoom: 1, x: 0, y: 0 };
  const fingers = new Map();

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
    // While all of it is seen, a finger on it scrolls the page.
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
    Object.assign(now, { zoom: 1, x: 0, y: 0 });
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
  stage.addEventListener("dblclick", (event) => {
    if (now.zoom > 1) fit();
    else magnify(ZOOM_STEP * ZOOM_STEP, ...fromMiddle(event.clientX, event.clientY));
  });
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

  const spread = () => {
    const [one, other] = [...fingers.values()];
    return {
      apart: Math.hypot(one.x - other.x, one.y - other.y),
      middle: fromMiddle((one.x + other.x) / 2, (one.y + other.y) / 2),
    };
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    if (fingers.size < 2) fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  stage.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    if (fingers.size === 1) {
      move(event.clientX - finger.x, event.clientY - finger.y);
      Object.assign(finger, { x: event.clientX, y: event.clientY });
      return;
    }
    const before = spread();
    Object.assign(finger, { x: event.clientX, y: event.clientY });
    const after = spread();
    if (before.apart > 0) magnify(after.apart / before.apart, ...after.middle);
    move(after.middle[0] - before.middle[0], after.middle[1] - before.middle[1]);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  new ResizeObserver(place).observe(stage);

  return {
    size(width, height) {
      Object.assign(size, { width, height });
      layer.style.width = width + "px";
      layer.style.height = height + "px";
      fit();
    },
    /** In for a positive number of steps, out for a negative one. */
    zoom: (steps) => magnify(ZOOM_STEP ** steps),
    fit,
  };
}
