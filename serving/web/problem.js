// Errors as sentences for the user.

export class Problem extends Error {
  /** `sentence` says what is wrong, `remedy` how to fix it. */
  constructor(sentence, remedy) {
    super(sentence);
    this.remedy = remedy;
  }
}

const REMEDIES = {
  408: "Try again.",
  413: "Use a smaller picture.",
  429: "It is overloaded. Try again in a moment.",
  503: "Try again in a moment.",
  504: "It took too long. Try again in a moment.",
};

export function serverIsAway(server, isElsewhere) {
  const elsewhere = ", that ?server=http://HOST:PORT names it, and that both servers allow each other (--allow-host)";
  return new Problem(
    `The server at ${server} does not answer.`,
    `Check that it runs (digits serve starts one)${isElsewhere ? elsewhere : ""}.`,
  );
}

export function serverIsSlow(seconds) {
  return new Problem(`The server has not answered within ${seconds} seconds.`, "Try again in a moment.");
}

export function modelIsMissing(model) {
  return new Problem(
    `The server has no model “${model}”.`,
    "Push one (digits run does), or name another at the end of this page's address: ?model=NAME.",
  );
}

export function modelIsNotReady(model, states) {
  return new Problem(`The model “${model}” is not ready: ${states}.`, "Try again in a moment.");
}

export function answerIsForeign(model) {
  return new Problem(
    `The model “${model}” does not answer as an image classifier does.`,
    "Name another at the end of this page's address: ?model=NAME.",
  );
}

export function requestIsRefused(status, text) {
  const words = text ? `: ${text.replace(/[.\s]*$/, "")}` : "";
  const isOurs = status >= 400 && status < 500 && !(status in REMEDIES);
  return new Problem(
    isOurs ? `The server refuses this request${words}.` : `The server fails, with HTTP status ${status}${words}.`,
    REMEDIES[status] ?? (isOurs ? "Try another picture." : "Try again, or look at the server's log."),
  );
}
