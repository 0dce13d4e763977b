// Shows what is wrong and how to fix it.

import { Problem } from "./problem.js";

export class ProblemView {
  #root;
  #shown = "";

  constructor(root, retry) {
    this.#root = root;
    root.querySelector("#try-again").addEventListener("click", retry);
  }

  /** Shows a Problem; any other error is a bug of this page and also goes to the browser's console. */
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
    // Screen readers would read out an unchanged alert again with every stroke.
    if (this.#shown !== sentence) {
      this.#shown = sentence;
      this.#root.querySelector("#problem-sentence").textContent = sentence;
      this.#root.querySelector("#problem-remedy").textContent = remedy;
      this.#root.hidden = false;
    }
  }
}
