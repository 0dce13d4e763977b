// Speaks through a live region, once things have come to rest: screen readers read out each change.

export class Announcer {
  #region;
  #pause;
  #timer;

  /** `pause` is in milliseconds; what is said within it takes the place of what was to be said. */
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
