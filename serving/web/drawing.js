// The content of the sheet, strokes or a picture, with an undo history.

// A point is {x, y} in the unit square, a stroke a list of points. A sheet holds a picture or strokes, never both:
// ink on a photo would not look like the ink in it.
const EMPTY_SHEET = Object.freeze({ picture: null, strokes: [] });

/**
 * Events: `ink`, points were added; `settled`, the content is complete and can be recognized;
 * `replaced`, the previous content is gone, and its answer no longer applies.
 */
export class Drawing extends EventTarget {
  #sheets = [EMPTY_SHEET];
  #isStrokeOpen = false;

  get picture() {
    return this.#sheets.at(-1).picture;
  }

  get strokes() {
    return this.#sheets.at(-1).strokes;
  }

  get isEmpty() {
    return this.picture === null && this.strokes.length === 0;
  }

  get canUndo() {
    return this.#sheets.length > 1;
  }

  get isStrokeOpen() {
    return this.#isStrokeOpen;
  }

  beginStroke(point) {
    const replacesPicture = this.picture !== null;
    this.#sheets.push({ picture: null, strokes: [...this.strokes, [point]] });
    this.#isStrokeOpen = true;
    this.#tell(...(replacesPicture ? ["replaced", "ink"] : ["ink"]));
  }

  /** Does nothing after the stroke has ended, for example because it was undone while being drawn. */
  extendStroke(points) {
    if (this.#isStrokeOpen && points.length > 0) {
      this.strokes.at(-1).push(...points);
      this.#tell("ink");
    }
  }

  endStroke() {
    if (this.#isStrokeOpen) {
      this.#isStrokeOpen = false;
      this.#tell("settled");
    }
  }

  putPicture(picture) {
    this.#turnTo({ picture, strokes: [] });
  }

  clear() {
    if (!this.isEmpty) {
      this.#turnTo(EMPTY_SHEET);
    }
  }

  undo() {
    if (this.canUndo) {
      this.#sheets.pop();
      this.#isStrokeOpen = false;
      this.#tell("replaced", "settled");
    }
  }

  #turnTo(sheet) {
    this.#sheets.push(sheet);
    this.#isStrokeOpen = false;
    this.#tell("replaced", "settled");
  }

  #tell(...events) {
    events.forEach((name) => this.dispatchEvent(new Event(name)));
  }
}
