// Shows the answer: class, sentence, probabilities, and the image that the model sees.

import { showPixels } from "./painting.js";

const MAX_BARS = 10;
// A longer name is legible in the sentence only.
const MAX_TILE_LENGTH = 2;
// A number and its unit stay on one line.
const UNIT = "\u00a0%";

function percent(share) {
  if (share > 0.999 && share < 1) {
    return `Over 99.9${UNIT}`;
  }
  return (share * 100).toFixed(1) + UNIT;
}

/** Returns the indices of the classes, the most probable one first. */
function rank(probabilities) {
  return [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
}

/** Describes an answer: [sentence, detail]. */
function describe({ label, classes, confidence, status, probabilities }) {
  if (status === "blank") {
    return ["Nothing to read.", "There is no ink in this picture."];
  }
  if (status !== "ok") {
    const second = rank(probabilities)[1];
    const other = `${percent(probabilities[second])} for “${classes[second]}”`;
    return [`Perhaps “${label}”.`, `Unsure: ${percent(confidence)}, and ${other}`];
  }
  return [`It is “${label}”.`, `${percent(confidence)} sure`];
}

function createBar() {
  const bar = document.createElement("li");
  const name = Object.assign(document.createElement("span"), { className: "name" });
  const meter = Object.assign(document.createElement("div"), { className: "meter", role: "meter" });
  const value = Object.assign(document.createElement("span"), { className: "value" });
  meter.setAttribute("aria-valuemin", 0);
  meter.setAttribute("aria-valuemax", 1);
  // The meter has both as labels.
  name.ariaHidden = value.ariaHidden = "true";
  bar.append(name, meter, value);
  return { bar, name, meter, value };
}

export class AnswerView {
  #parts;
  #bars = [];
  #classes = [];

  constructor(root) {
    this.#parts = Object.fromEntries([...root.querySelectorAll("[id]")].map((element) => [element.id, element]));
    this.#parts.root = root;
  }

  showModel({ model, server, isElsewhere }) {
    this.#parts.model.textContent = model;
    this.#parts.server.textContent = server;
    this.#parts["server-fact"].hidden = !isElsewhere;
  }

  showVersion(version) {
    this.#parts.version.textContent = version;
  }

  showBusy(isBusy) {
    this.#parts.root.ariaBusy = String(isBusy);
  }

  /** Clears the answer: nothing has been sent yet, or the request failed. */
  showNothing(sentence, detail) {
    this.#show({ status: "none", label: "", sentence, detail });
    this.#showBars(this.#classes.map(() => null));
    this.#showSeen([], "nothing yet");
    this.#parts.latency.textContent = "–";
  }

  /** Shows the result of ModelClient.recognize and returns its description. */
  showAnswer({ answer, pixels, version, milliseconds }) {
    const { status, label, classes, probabilities } = answer;
    const [sentence, detail] = describe(answer);
    const isBlank = status === "blank";
    this.#show({ status, label, sentence, detail });
    this.#setClasses(classes);
    this.#showBars(probabilities, !isBlank);
    const size = `${pixels.length} by ${pixels[0].length} pixels`;
    this.#showSeen(pixels, isBlank ? `${size}, no ink` : size);
    this.showVersion(version);
    this.#parts.latency.textContent = `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
    return `${sentence} ${detail}`;
  }

  #show({ status, label, sentence, detail }) {
    this.#parts.root.dataset.status = status;
    this.#parts.label.textContent = label;
    this.#parts.sentence.textContent = sentence;
    this.#parts.detail.textContent = detail;
  }

  #setClasses(classes) {
    this.#classes = classes;
    this.#parts.label.hidden = classes.some((name) => [...name].length > MAX_TILE_LENGTH);
    this.#parts["bars-title"].hidden = false;
    if (this.#bars.length !== Math.min(classes.length, MAX_BARS)) {
      this.#bars = classes.slice(0, MAX_BARS).map(createBar);
      this.#parts.bars.replaceChildren(...this.#bars.map(({ bar }) => bar));
    }
  }

  /** Shows all classes in their order, or of many the most probable ones. */
  #showBars(probabilities, hasLargest = false) {
    const ranked = rank(probabilities);
    const shown = ranked.slice(0, MAX_BARS);
    if (ranked.length <= MAX_BARS) {
      shown.sort((a, b) => a - b);
    }
    this.#bars.forEach((bar, position) => {
      const index = shown[position];
      this.#showBar(bar, this.#classes[index], probabilities[index], hasLargest && index === ranked[0]);
    });
    const numOthers = ranked.length - shown.length;
    this.#parts.others.textContent = numOthers > 0 ? `and ${numOthers} more classes` : "";
  }

  #showBar({ bar, name, meter, value }, text, probability, isLargest) {
    name.textContent = name.title = text;
    meter.ariaLabel = `Probability of ${text}`;
    meter.style.setProperty("--share", probability ?? 0);
    meter.setAttribute("aria-valuenow", probability ?? 0);
    meter.setAttribute("aria-valuetext", probability === null ? "no answer yet" : percent(probability));
    value.textContent = probability === null ? "–" : percent(probability).replace("Over ", ">\u00a0");
    bar.classList.toggle("largest", isLargest);
  }

  #showSeen(pixels, words) {
    showPixels(pixels, this.#parts.seen);
    this.#parts.seen.ariaLabel = `What the model sees: ${words}`;
  }
}
