// Updates a live region after a pause, because screen readers read out every change.

export class Announcer {
  #region;
  #pause;
  #timer;

  /** `pause` is in milliseconds; a new text within the pause replaces the pending one. */
  constructor(region, pause) {
    this.#region = region;
    this.#pause = pause;
  }

  say(words) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#region.textContent = words;
    }, this.#pause);
  }
}
