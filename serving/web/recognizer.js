// Decides when to send a request: soon after a stroke, now and then during one, never two at once.

const AFTER_STROKE_MS = 120;
const DURING_STROKE_MS = 400;

export class Recognizer {
  #ask;
  #listener;
  #timer = null;
  #isDue = false;
  #running = null;

  /**
   * @param {(signal: AbortSignal) => Promise} ask sends the current content of the sheet
   * @param listener its `onAnswer(answer, isLast)`, `onProblem(error)` and `onBusy(isBusy)` are called
   */
  constructor(ask, listener) {
    this.#ask = ask;
    this.#listener = listener;
  }

  /** Sends a request after a short delay, which restarts with each call. */
  askSoon() {
    this.#schedule(AFTER_STROKE_MS);
  }

  /** Sends a request within a longer delay, while a stroke is still growing. */
  askWhileGrowing() {
    if (this.#timer === null && !this.#isDue) {
      this.#schedule(DURING_STROKE_MS);
    }
  }

  /** Cancels the pending and the running request: their content is gone. */
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
    // After `forget` another request may be running.
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
