// Where the model looked, as colour over the radiograph (Zhou et al., arXiv 1512.04150).

/** One hue, so that more is only ever more of it. */
const COLOUR = [255, 122, 0];
/** The most that colour covers of the bone beneath. */
const ALPHA_MAX = 0.75;
/** A study whose maps stay below it, in logits, is not painted as if it were full of findings. */
const SCALE_MIN = 10;
const SIDE_PX = 256;

/** What has the full colour: the largest value of all maps, so that views of a study can be compared. */
export function scaleOf(maps) {
  return maps.reduce((most, map) => map.values.reduce((so_far, value) => Math.max(so_far, value), most), SCALE_MIN);
}

/** Whether a map has anything that points to abnormal. */
export const hasSigns = (map) => map.values.some((value) => value > 0);

/** The map at a place in cells, bilinear between the middles of cells; beyond the outermost ones as there. */
export function between(map, column, row) {
  const x = Math.min(Math.max(column, 0), map.width - 1);
  const y = Math.min(Math.max(row, 0), map.height - 1);
  const [left, above] = [Math.floor(x), Math.floor(y)];
  const [right, below] = [Math.min(left + 1, map.width - 1), Math.min(above + 1, map.height - 1)];
  const at = (one, other) => map.values[other * map.width + one];
  const upper = at(left, above) * (1 - (x - left)) + at(right, above) * (x - left);
  const lower = at(left, below) * (1 - (x - left)) + at(right, below) * (x - left);
  return upper * (1 - (y - above)) + lower * (y - above);
}

/**
 * The radiograph's place in what the model saw, and so in its map, as shares of the sides: `letterbox` fits it in and
 * centres it, `squash` stretches it to the whole.
 */
export function placement(aspect, map, width, height) {
  if (aspect === "squash") return { left: 0, top: 0, width: 1, height: 1 };
  const scale = Math.min(map.width / width, map.height / height);
  const [across, down] = [(width * scale) / map.width, (height * scale) / map.height];
  return { left: (1 - across) / 2, top: (1 - down) / 2, width: across, height: down };
}

/** Draws a map over the whole of a radiograph of `width` x `height`; `opacity` from 0 to 1. */
export function draw(canvas, map, { aspect, width, height, scale, opacity }) {
  const reduced = SIDE_PX / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * reduced));
  canvas.height = Math.max(1, Math.round(height * reduced));
  const place = placement(aspect, map, width, height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  for (let y = 0, at = 0; y < canvas.height; y += 1) {
    const row = (place.top + ((y + 0.5) / canvas.height) * place.height) * map.height - 0.5;
    for (let x = 0; x < canvas.width; x += 1, at += 4) {
      const column = (place.left + ((x + 0.5) / canvas.width) * place.width) * map.width - 0.5;
      const share = Math.min(Math.max(between(map, column, row) / scale, 0), 1);
      [pixels.data[at], pixels.data[at + 1], pixels.data[at + 2]] = COLOUR;
      pixels.data[at + 3] = Math.round(255 * ALPHA_MAX * opacity * share);
    }
  }
  context.putImageData(pixels, 0, 0);
}
