// What has gone wrong, and what to do about it.

import { Problem } from "./problem.js";

export class ProblemView {
  #root;
  #shown = "";

  constructor(root, retry) {
    this.#root = root;
    root.querySelector("#try-again").addEventListener("click", retry);
  }

  /** Shows a Problem; any other error is a fault of this page, and goes on to the browser's console too. */
  show(error) {
    const isKnown = error instanceof Problem;
    this.#say(
      isKnown ? error.message : `This page has failed: ${error.message}`,
      isKnown ? error.remedy : "Load it again.",
    );
    if (!isKnown) {
      throw error;
    }
  }

  hide() {
    this.#root.hidden = true;
    this.#shown = "";
  }

  #say(sentence, remedy) {
    // An alert that is set to the same words would be read out again with every stroke.
    if (this.#shown !== sentence) {
      this.#shown = sentence;
      this.#root.querySelector("#problem-sentence").textContent = sentence;
      this.#root.querySelector("#problem-remedy").textContent = remedy;
      this.#root.hidden = false;
    }
  }
}
