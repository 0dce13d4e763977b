// Reads pictures from files, the camera, the clipboard or another window, in a format that the model can decode.

import { Problem } from "./problem.js";

const MAX_SIDE = 1024;
const JPEG_QUALITY = 0.92;

/**
 * Redraws a file: the browser supports more formats than the model, applies EXIF rotation, and shrinks large photos.
 * Transparent pixels become white, as in the model.
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
  // A large picture is a photo, which is many times larger as a PNG.
  const type = scale < 1 ? "image/jpeg" : "image/png";
  return { surface, blob: await surface.convertToBlob({ type, quality: JPEG_QUALITY }) };
}

async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    const name = file.name ? `“${file.name}”` : "This file";
    throw new Problem(`${name} cannot be opened as a picture.`, "Use a PNG or JPEG file, or take a screenshot of it.");
  }
}

/** Calls `take(file)` with each file that is chosen, photographed, dropped on the page or pasted. */
export function attachPictureSources({ inputs, dropMark, take, refuse }) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      // Otherwise choosing the same file again would fire no event.
      input.value = "";
      if (file) {
        take(file);
      }
    });
  }
  acceptDrops(dropMark, take, refuse);
  document.addEventListener("paste", (event) => {
    takeFirst(event.clipboardData, take, () =>
      refuse(new Problem("The clipboard contains no picture.", "Copy one first.")),
    );
  });
}

function acceptDrops(dropMark, take, refuse) {
  const mark = (isOver) => dropMark.classList.toggle("drop", isOver);
  // Without preventDefault the browser would open the picture instead of the page.
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => mark(event.relatedTarget !== null));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    takeFirst(event.dataTransfer, take, () =>
      refuse(new Problem("You did not drop a file.", "Save the picture first, then drop its file.")),
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
