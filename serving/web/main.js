// Connects the parts of the page: sends drawings and pictures to the model and shows its answers.

import { Announcer } from "./announcer.js";
import { AnswerView } from "./answer_view.js";
import { Drawing } from "./drawing.js";
import { KeyboardPen } from "./keyboard_pen.js";
import { ModelClient } from "./model_client.js";
import { encode, show } from "./painting.js";
import { attachPictureSources, readPicture } from "./pictures.js";
import { attachPointerPen } from "./pointer_pen.js";
import { ProblemView } from "./problem_view.js";
import { Recognizer } from "./recognizer.js";

const PAUSE_BEFORE_ANSWER_MS = 500;
const PAUSE_BEFORE_PEN_MS = 250;
// Attributes of the paper.
const FOR_DRAWINGS = {
  "tabindex": 0,
  "role": "application",
  "aria-roledescription": "drawing area",
  "aria-label": "Draw here",
  "aria-describedby": "keyboard-short",
};
const FOR_PICTURES = {
  "tabindex": -1,
  "role": "img",
  "aria-roledescription": "",
  "aria-label": "Your picture",
  "aria-describedby": "",
};
const INVITATION = ["No picture yet.", "The answer appears here."];

const element = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);
const server = address.get("server") ?? ".";
// An invalid URL is kept, so that the error message names it.
const client = new ModelClient(URL.parse(server, location.href)?.href ?? server, address.get("model") ?? "digits");

const drawing = new Drawing();
const paper = element("paper");
const answerView = new AnswerView(element("answer"));
const answerAnnouncer = new Announcer(element("answer-heard"), PAUSE_BEFORE_ANSWER_MS);
const problemView = new ProblemView(element("problem"), retry);

const recognizer = new Recognizer(async (signal) => client.recognize(await encode(drawing), signal), {
  onAnswer(result, isLast) {
    problemView.hide();
    adaptTo(result);
    const words = answerView.showAnswer(result);
    if (isLast && !drawing.isStrokeOpen) {
      answerAnnouncer.say(words);
    }
  },
  onProblem(problem) {
    answerView.showNothing("No answer.", "");
    problemView.show(problem);
  },
  onBusy: (isBusy) => answerView.showBusy(isBusy),
});

function refresh() {
  show(drawing, paper);
  element("invitation").hidden = !drawing.isEmpty;
  element("undo").disabled = !drawing.canUndo;
  element("clear").disabled = drawing.isEmpty;
}

/** Offers drawing to a gray model only. */
function adaptTo({ isColor }) {
  document.querySelectorAll(".for-drawings").forEach((each) => (each.hidden = isColor));
  document.querySelectorAll(".for-pictures").forEach((each) => (each.hidden = !isColor));
  element("stage").classList.toggle("pictures-only", isColor);
  Object.entries(isColor ? FOR_PICTURES : FOR_DRAWINGS).forEach(([name, value]) => paper.setAttribute(name, value));
}

async function retry() {
  if (!drawing.isEmpty) {
    recognizer.askSoon();
    return;
  }
  try {
    const found = await client.findVersion();
    adaptTo(found);
    answerView.showVersion(found.version);
    problemView.hide();
  } catch (problem) {
    problemView.show(problem);
  }
}

drawing.addEventListener("ink", () => {
  refresh();
  recognizer.askWhileGrowing();
});
drawing.addEventListener("replaced", () => {
  recognizer.forget();
  answerView.showNothing(...INVITATION);
  answerAnnouncer.say("");
});
drawing.addEventListener("settled", () => {
  refresh();
  if (!drawing.isEmpty) {
    recognizer.askSoon();
  }
});

// First, so that a keyboard stroke ends before a pointer starts another.
new KeyboardPen(paper, drawing, element("pen"), new Announcer(element("pen-heard"), PAUSE_BEFORE_PEN_MS));
attachPointerPen(paper, drawing);
attachPictureSources({
  inputs: [element("picture"), element("photo")],
  dropMark: element("stage"),
  refuse: (problem) => problemView.show(problem),
  take: async (file) => {
    try {
      drawing.putPicture(await readPicture(file));
    } catch (problem) {
      problemView.show(problem);
    }
  },
});

element("undo").addEventListener("click", () => drawing.undo());
element("clear").addEventListener("click", () => drawing.clear());
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") {
    event.preventDefault();
    drawing.undo();
  }
});
new ResizeObserver(refresh).observe(paper);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);

adaptTo({ isColor: false });
answerView.showModel(client);
answerView.showNothing(...INVITATION);
retry();
