// Shapes, drawn rather than taken from a font, which a small board may lack. Each state has a shape of its own, so
// that nothing is told by colour alone.

const SVG = "http://www.w3.org/2000/svg";
const DISC = "M12 1a11 11 0 1 0 0 22a11 11 0 1 0 0-22z";
const TRIANGLE = "M12 1.5L23.5 22.5H.5z";
const OCTAGON = "M7.5 1h9L23 7.5v9L16.5 23h-9L1 16.5v-9z";
const CROSS = "M7.5 7.5l9 9M16.5 7.5l-9 9";
const STROKE = "M12 9v6M12 18.6v.4";

/** `[filled, drawn over it in the colour beneath]`. */
const SHAPES = {
  normal: [DISC, "M6.5 12.5l4 4l7-8"],
  abnormal: [TRIANGLE, STROKE],
  uncertain: ["M12 .5L23.5 12L12 23.5L.5 12z", "M9.2 9.6a2.9 2.9 0 1 1 4.3 2.5c-1.1.6-1.5 1.1-1.5 2.3M12 17.4v.4"],
  rejected: ["M2 2h20v20H2z", CROSS],
  failed: [OCTAGON, CROSS],
  open: [DISC, "M7 12h.01M12 12h.01M17 12h.01"],
  waiting: ["M4 1h16v4.5L14.5 12L20 18.5V23H4v-4.5L9.5 12L4 5.5z", ""],
  good: [DISC, "M6.5 12.5l4 4l7-8"],
  warn: [TRIANGLE, STROKE],
  bad: [OCTAGON, CROSS],
  plain: [DISC, "M7 12h10"],
  home: ["M12 2L1 12h3v10h6v-7h4v7h6V12h3z", ""],
  plus: ["M9 1h6v8h8v6h-8v8H9v-8H1V9h8z", ""],
  history: [DISC, "M12 6v6.5l4.5 2.5"],
  onward: ["M7 1.5L17.5 12L7 22.5L4.5 20L12.5 12L4.5 4z", ""],
  settings: ["M3 3h18v5H3zM3 10h18v5H3zM3 17h18v4.5H3z", "M7 5.5h.01M7 12.5h.01M7 19.2h.01"],
};

export function shape(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("class", "shape");
  drawing.setAttribute("aria-hidden", "true");
  SHAPES[name].forEach((data, index) => {
    if (data === "") return;
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", data);
    path.setAttribute("class", index === 0 ? "body" : "mark");
    drawing.append(path);
  });
  return drawing;
}
