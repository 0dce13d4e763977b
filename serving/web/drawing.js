// What is on the sheet, and what was on it before: strokes, or a picture, with undo.

// A point is {x, y} in the unit square, a stroke a list of points. A sheet holds a picture or strokes, never both:
// ink on a photograph would be of another kind than what is in it.
const EMPTY_SHEET = Object.freeze({ picture: null, strokes: [] });

/**
 * Events: `ink`, points were added; `settled`, there is something new to be read or nothing more;
 * `replaced`, what was there before is gone, and with it any answer to it.
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

  /** Does nothing once the stroke has ended, as it also does when it is undone under the pen. */
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
