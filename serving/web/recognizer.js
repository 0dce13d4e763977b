// When the model is asked: soon after a stroke, now and then during one, never twice at once.

const AFTER_STROKE_MS = 120;
const DURING_STROKE_MS = 400;

export class Recognizer {
  #ask;
  #listener;
  #timer = null;
  #isDue = false;
  #running = null;

  /**
   * @param {(signal: AbortSignal) => Promise} ask reads what is on the sheet at that moment
   * @param listener its `onAnswer(answer, isLast)`, `onProblem(error)` and `onBusy(isBusy)` are called
   */
  constructor(ask, listener) {
    this.#ask = ask;
    this.#listener = listener;
  }

  /** Asks after a short while, which begins anew with each call. */
  askSoon() {
    this.#schedule(AFTER_STROKE_MS);
  }

  /** Asks within a while: for what is still growing. */
  askWhileGrowing() {
    if (this.#timer === null && !this.#isDue) {
      this.#schedule(DURING_STROKE_MS);
    }
  }

  /** Drops what is due and what is under way: its answer would be to something that is gone. */
  forget() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#isDue = false;
    this.#running?.abort();
    this.#running = null;
    this.#listener.onBusy(false);
  }

  #schedule(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#isDue = true;
      this.#askIfIdle();
    }, delay);
  }

  async #askIfIdle() {
    if (!this.#isDue || this.#running) {
      return;
    }
    this.#isDue = false;
    const running = new AbortController();
    this.#running = running;
    this.#listener.onBusy(true);
    const tell = await this.#outcome(running.signal);
    // Another one has taken its place if it was forgotten.
    if (this.#running === running) {
      this.#running = null;
      this.#listener.onBusy(false);
      tell();
      this.#askIfIdle();
    }
  }

  async #outcome(signal) {
    try {
      const answer = await this.#ask(signal);
      return () => this.#listener.onAnswer(answer, this.#timer === null && !this.#isDue);
    } catch (error) {
      return () => this.#listener.onProblem(error);
    }
  }
}
