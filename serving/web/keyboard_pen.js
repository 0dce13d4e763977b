// Drawing with the keyboard, announced to screen readers.

const NUM_SQUARES = 20;
const FINE_STEP = 0.25;
const DIRECTIONS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

const clamp = (squares) => Math.min(Math.max(squares, 0), NUM_SQUARES);

export class KeyboardPen {
  #drawing;
  #mark;
  #announcer;
  #held = new Set();
  #squares = { x: NUM_SQUARES / 2, y: NUM_SQUARES / 2 };
  #isDown = false;

  /** Draws with keys while the paper has the focus; `mark` shows the pen position. */
  constructor(paper, drawing, mark, announcer) {
    this.#drawing = drawing;
    this.#mark = mark;
    this.#announcer = announcer;
    paper.addEventListener("keydown", (event) => this.#press(event));
    paper.addEventListener("keyup", (event) => this.#held.delete(event.key));
    paper.addEventListener("focus", () => this.#showMark(paper.matches(":focus-visible")));
    paper.addEventListener("blur", () => this.#leave());
    paper.addEventListener("pointerdown", () => this.#leave());
  }

  #press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    const action = this.#actionOf(event);
    if (action) {
      event.preventDefault();
      this.#showMark(true);
      action();
    }
  }

  #actionOf(event) {
    if (event.key in DIRECTIONS) {
      return () => this.#move(event.key, event.shiftKey ? FINE_STEP : 1);
    }
    // A held key repeats; only the arrows may.
    const actions = {
      " ": () => event.repeat || (this.#isDown ? this.#lift("Pen up.") : this.#putDown()),
      Escape: () => this.#lift("Pen up."),
      Backspace: () => this.#drop(() => this.#drawing.undo(), "Undone."),
      Delete: () => this.#drop(() => this.#drawing.clear(), "Cleared."),
    };
    return actions[event.key];
  }

  #move(key, step) {
    this.#held.add(key);
    for (const held of this.#held) {
      const [x, y] = DIRECTIONS[held];
      this.#squares = { x: clamp(this.#squares.x + x * step), y: clamp(this.#squares.y + y * step) };
    }
    this.#showMark(true);
    if (this.#isDown) {
      this.#drawing.extendStroke([this.#point()]);
    }
    this.#announcer.say(this.#where());
  }

  #putDown() {
    this.#isDown = true;
    this.#drawing.beginStroke(this.#point());
    this.#mark.classList.add("down");
    this.#announcer.say(`Pen down. ${this.#where()}`);
  }

  #lift(words) {
    if (this.#isDown) {
      this.#isDown = false;
      this.#drawing.endStroke();
      this.#mark.classList.remove("down");
      this.#announcer.say(words);
    }
  }

  #drop(act, words) {
    this.#lift("");
    act();
    this.#announcer.say(words);
  }

  #leave() {
    this.#held.clear();
    this.#lift("Pen up.");
    this.#showMark(false);
  }

  #point() {
    return { x: this.#squares.x / NUM_SQUARES, y: this.#squares.y / NUM_SQUARES };
  }

  #where() {
    return `Column ${this.#squares.x}, row ${this.#squares.y} of ${NUM_SQUARES}.`;
  }

  #showMark(isVisible) {
    this.#mark.hidden = !isVisible;
    const { x, y } = this.#point();
    this.#mark.style.left = `${x * 100}%`;
    this.#mark.style.top = `${y * 100}%`;
  }
}
