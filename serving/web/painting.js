// Paints drawings: on screen in the colors of the page, in requests always dark on white.

// Matches the strokes of MNIST for a character that fills most of the sheet.
const LINE_WIDTH = 0.075;
const EXPORT_SIDE = 280;

function tracePath(context, stroke, side) {
  const [first, ...rest] = stroke;
  context.moveTo(first.x * side, first.y * side);
  let previous = first;
  for (const point of rest) {
    // Curves through the midpoints, with the points as controls, smooth the corners that a pointer reports.
    const middle = { x: (previous.x + point.x) / 2, y: (previous.y + point.y) / 2 };
    context.quadraticCurveTo(previous.x * side, previous.y * side, middle.x * side, middle.y * side);
    previous = point;
  }
  context.lineTo(previous.x * side, previous.y * side);
}

function paintStroke(context, stroke, side) {
  // A canvas draws no line for a stroke of one point.
  context.beginPath();
  context.arc(stroke[0].x * side, stroke[0].y * side, context.lineWidth / 2, 0, 2 * Math.PI);
  context.fill();
  context.beginPath();
  tracePath(context, stroke, side);
  context.stroke();
}

function paintStrokes(context, strokes, side, ink) {
  Object.assign(context, { lineWidth: LINE_WIDTH * side, lineCap: "round", lineJoin: "round" });
  Object.assign(context, { strokeStyle: ink, fillStyle: ink });
  strokes.forEach((stroke) => paintStroke(context, stroke, side));
}

function paintPicture(context, surface, side) {
  const scale = Math.min(side / surface.width, side / surface.height);
  const [width, height] = [surface.width * scale, surface.height * scale];
  context.drawImage(surface, (side - width) / 2, (side - height) / 2, width, height);
}

/** Paints the sheet onto a square canvas at its displayed size, in the text color of the canvas. */
export function show(drawing, canvas) {
  const side = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  if (canvas.width !== side) {
    canvas.width = canvas.height = side;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, side, side);
  if (drawing.picture) {
    paintPicture(context, drawing.picture.surface, side);
  }
  paintStrokes(context, drawing.strokes, side, getComputedStyle(canvas).color);
}

/** Returns the Blob to send: the picture, or the strokes as a PNG of a fixed size. */
export async function encode(drawing) {
  if (drawing.picture) {
    return drawing.picture.blob;
  }
  const surface = new OffscreenCanvas(EXPORT_SIDE, EXPORT_SIDE);
  const context = surface.getContext("2d", { alpha: false });
  context.fillStyle = "white";
  context.fillRect(0, 0, EXPORT_SIDE, EXPORT_SIDE);
  paintStrokes(context, drawing.strokes, EXPORT_SIDE, "black");
  return surface.convertToBlob({ type: "image/png" });
}

/** Shows rows of pixels, each a gray value or [red, green, blue], 0 to 255; without rows it shows nothing. */
export function showPixels(rows, canvas) {
  // Setting a size clears the canvas.
  [canvas.width, canvas.height] = rows.length > 0 ? [rows[0].length, rows.length] : [1, 1];
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  rows.flat().forEach((value, index) => {
    const [red, green, blue] = Array.isArray(value) ? value : [value, value, value];
    image.data.set([red, green, blue, 255], index * 4);
  });
  context.putImageData(image, 0, 0);
}
