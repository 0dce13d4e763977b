// Shows the answer: digit, sentence, probabilities, and the image that the model sees.

import { showPixels } from "./painting.js";

const DIGITS = [...Array(10).keys()];
// A number and its unit stay on one line.
const UNIT = "\u00a0%";

function percent(share) {
  if (share > 0.999 && share < 1) {
    return `Over 99.9${UNIT}`;
  }
  return (share * 100).toFixed(1) + UNIT;
}

/** Describes an answer: [sentence, detail]. */
function describe({ digit, confidence, status, probabilities }) {
  if (status === "blank") {
    return ["Nothing to read.", "There is no ink in this picture."];
  }
  const named = digit === 8 ? "an 8" : `a ${digit}`;
  if (status === "low_confidence") {
    const [, second] = [...DIGITS].sort((a, b) => probabilities[b] - probabilities[a]);
    return [`Perhaps ${named}.`, `Unsure: ${percent(confidence)}, and ${percent(probabilities[second])} for ${second}`];
  }
  return [`It is ${named}.`, `${percent(confidence)} sure`];
}

function createBar(digit) {
  const bar = document.createElement("li");
  const name = Object.assign(document.createElement("span"), { className: "name", textContent: digit });
  const meter = Object.assign(document.createElement("div"), { className: "meter", role: "meter" });
  const value = Object.assign(document.createElement("span"), { className: "value" });
  for (const [key, text] of [["label", `Probability of ${digit}`], ["valuemin", 0], ["valuemax", 1]]) {
    meter.setAttribute(`aria-${key}`, text);
  }
  // The meter has both as labels.
  name.ariaHidden = value.ariaHidden = "true";
  bar.append(name, meter, value);
  return { bar, meter, value };
}

export class AnswerView {
  #parts;
  #bars;

  constructor(root) {
    this.#parts = Object.fromEntries([...root.querySelectorAll("[id]")].map((element) => [element.id, element]));
    this.#parts.root = root;
    this.#bars = DIGITS.map(createBar);
    this.#parts.bars.append(...this.#bars.map(({ bar }) => bar));
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
    this.#show({ status: "none", digit: "", sentence, detail, probabilities: DIGITS.map(() => null) });
    this.#showSeen([], "nothing yet");
    this.#parts.latency.textContent = "–";
  }

  /** Shows the result of ModelClient.recognize and returns its description. */
  showAnswer({ answer, pixels, version, milliseconds }) {
    const [sentence, detail] = describe(answer);
    const isBlank = answer.status === "blank";
    this.#show({ ...answer, digit: isBlank ? "" : answer.digit, sentence, detail });
    this.#showSeen(pixels, isBlank ? "no ink" : "the ink of your digit, centered");
    this.showVersion(version);
    this.#parts.latency.textContent = `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
    return `${sentence} ${detail}`;
  }

  #show({ status, digit, sentence, detail, probabilities }) {
    this.#parts.root.dataset.status = status;
    this.#parts.digit.textContent = digit;
    this.#parts.sentence.textContent = sentence;
    this.#parts.detail.textContent = detail;
    const largest = Math.max(...probabilities);
    this.#bars.forEach((bar, index) => this.#showBar(bar, probabilities[index], status !== "blank" && largest));
  }

  #showBar({ bar, meter, value }, probability, largest) {
    const text = probability === null ? "–" : percent(probability).replace("Over ", ">\u00a0");
    meter.style.setProperty("--share", probability ?? 0);
    meter.setAttribute("aria-valuenow", probability ?? 0);
    meter.setAttribute("aria-valuetext", probability === null ? "no answer yet" : percent(probability));
    value.textContent = text;
    bar.classList.toggle("largest", Boolean(largest) && probability === largest);
  }

  #showSeen(pixels, words) {
    showPixels(pixels, this.#parts.seen);
    this.#parts.seen.ariaLabel = `What the model sees, 28 by 28 pixels: ${words}`;
  }
}
