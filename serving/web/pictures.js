// Pictures from files, the camera, the clipboard or another window, in a form that every model can decode.

import { Problem } from "./problem.js";

const MAX_SIDE = 1024;
const JPEG_QUALITY = 0.92;

/**
 * Draws a file anew: the browser knows more formats than the model, turns photographs upright, and spares the server
 * their size. What is transparent becomes white, as the model has it.
 *
 * @returns {{surface: OffscreenCanvas, blob: Blob}} upright, at most 1024 pixels on its longest side
 * @throws {Problem} if the browser cannot open the file
 */
export async function readPicture(file) {
  const bitmap = await decode(file);
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const sides = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const surface = new OffscreenCanvas(...sides);
  const context = surface.getContext("2d", { alpha: false });
  context.fillStyle = "white";
  context.fillRect(0, 0, ...sides);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, ...sides);
  bitmap.close();
  // What was larger is a photograph, and as a PNG many times the size.
  const type = scale < 1 ? "image/jpeg" : "image/png";
  return { surface, blob: await surface.convertToBlob({ type, quality: JPEG_QUALITY }) };
}

async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    const name = file.name ? `“${file.name}”` : "What you gave";
    throw new Problem(`${name} cannot be opened as a picture.`, "Use a PNG or JPEG file, or take a screenshot of it.");
  }
}

/** Calls `take(file)` with each file that is chosen, photographed, dropped on the page or pasted. */
export function attachPictureSources({ inputs, dropMark, take, refuse }) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      // Otherwise the same file, chosen again, would be no change.
      input.value = "";
      if (file) {
        take(file);
      }
    });
  }
  acceptDrops(dropMark, take, refuse);
  document.addEventListener("paste", (event) => {
    takeFirst(event.clipboardData, take, () =>
      refuse(new Problem("The clipboard holds no picture.", "Copy one first.")),
    );
  });
}

function acceptDrops(dropMark, take, refuse) {
  const mark = (isOver) => dropMark.classList.toggle("drop", isOver);
  // A browser would leave the page for the picture unless all of these are prevented.
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => mark(event.relatedTarget !== null));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    takeFirst(event.dataTransfer, take, () =>
      refuse(new Problem("What you dropped is no file.", "Save the picture first, then drop its file.")),
    );
  });
}

function takeFirst(transfer, take, refuse) {
  const [file] = transfer.files;
  if (file) {
    take(file);
  } else {
    refuse();
  }
}
