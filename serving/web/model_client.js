// Client of TF Serving's REST API, which `digits serve` provides, too.

import {
  answerIsForeign,
  modelIsMissing,
  modelIsNotReady,
  requestIsRefused,
  serverIsAway,
  serverIsSlow,
} from "./problem.js";

const TIMEOUT_SECONDS = 15;
// Of versions that were pushed before models named their classes.
const DIGITS = [...Array(10).keys()].map(String);
const NOT_FOUND = 404;

async function toBase64(blob) {
  const reader = new FileReader();
  const done = new Promise((resolve, reject) => {
    reader.onload = resolve;
    reader.onerror = () => reject(reader.error);
  });
  reader.readAsDataURL(blob);
  await done;
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

export class ModelClient {
  #version = null;
  #isColor = false;

  /** `server` is the base URL of the API, without `/v1/models`. */
  constructor(server, model) {
    this.server = server.replace(/\/+$/, "");
    this.model = model;
    this.isElsewhere = URL.parse(this.server)?.origin !== location.origin;
  }

  /**
   * Finds the newest available version; requests use it until the server unloads it.
   *
   * @returns {Promise<{version: BigInt, isColor: boolean}>} whether the model sees colors, or only gray
   * @throws {Problem} if the server does not answer or has no available version
   */
  async findVersion(signal) {
    const response = await this.#fetch("", { signal });
    if (response.status === NOT_FOUND) {
      throw modelIsMissing(this.model);
    }
    const { model_version_status: versions } = await contentOf(response);
    const available = versions.filter(({ state }) => state === "AVAILABLE").map(({ version }) => BigInt(version));
    if (available.length === 0) {
      const states = versions.map(({ version, state }) => `version ${version} is ${state}`);
      throw modelIsNotReady(this.model, states.join(", ") || "it has no version");
    }
    const newest = available.reduce((newest, version) => (version > newest ? version : newest));
    const metadata = await this.#fetch(`/versions/${newest}/metadata`, { signal });
    if (metadata.status === NOT_FOUND) {
      throw this.#hasDisappeared(newest);
    }
    this.#isColor = this.#seesColor(await contentOf(metadata));
    this.#version = newest;
    return { version: newest, isColor: this.#isColor };
  }

  #seesColor({ metadata }) {
    const shape = metadata?.signature_def?.signature_def?.pixels?.inputs?.image?.tensor_shape;
    if (!shape?.dim) {
      throw answerIsForeign(this.model);
    }
    // Batch, rows and columns; color images have a fourth dimension.
    return shape.dim.length === 4;
  }

  /**
   * Returns the prediction for an image and the image that the model sees, both from the same version.
   *
   * @param {Blob} image a PNG, JPEG, GIF or BMP
   * @returns {Promise<{answer: {label: string, classes: string[], probabilities: number[], confidence: number,
   *   status: string}, pixels: (number|number[])[][], version: BigInt, isColor: boolean, milliseconds: number}>}
   *   `milliseconds` is the time of the prediction
   * @throws {Problem} if the request fails
   */
  async recognize(image, signal) {
    const instances = [{ b64: await toBase64(image) }];
    if (this.#version !== null) {
      const result = await this.#askVersion(instances, signal);
      if (result !== null) {
        return result;
      }
    }
    await this.findVersion(signal);
    const result = await this.#askVersion(instances, signal);
    if (result === null) {
      throw this.#hasDisappeared(this.#version);
    }
    return result;
  }

  #hasDisappeared(version) {
    return modelIsNotReady(this.model, `version ${version} has just been replaced`);
  }

  /** Returns null if the server no longer has the version. */
  async #askVersion(instances, signal) {
    const [version, isColor] = [this.#version, this.#isColor];
    const start = performance.now();
    const response = await this.#predict("serving_default", instances, signal);
    const milliseconds = performance.now() - start;
    const pixels = response && (await this.#predict("normalize", instances, signal));
    if (!response || !pixels) {
      return null;
    }
    const answer = response.digit === undefined ? response : nameDigits(response);
    if (!answer.classes || answer.classes.length !== answer.probabilities?.length) {
      throw answerIsForeign(this.model);
    }
    return { answer, pixels, version, isColor, milliseconds };
  }

  async #predict(signature, instances, signal) {
    // The type of a string body is text/plain, which needs no preflight request to another origin: TF Serving
    // does not answer those.
    const body = JSON.stringify({ signature_name: signature, instances });
    const response = await this.#fetch(`/versions/${this.#version}:predict`, { method: "POST", body, signal });
    return response.status === NOT_FOUND ? null : (await contentOf(response)).predictions[0];
  }

  async #fetch(path, options) {
    const deadline = AbortSignal.timeout(TIMEOUT_SECONDS * 1000);
    const signal = AbortSignal.any([deadline, ...(options.signal ? [options.signal] : [])]);
    try {
      return await fetch(`${this.server}/v1/models/${encodeURIComponent(this.model)}${path}`, { ...options, signal });
    } catch (error) {
      if (options.signal?.aborted) {
        throw error;
      }
      throw deadline.aborted ? serverIsSlow(TIMEOUT_SECONDS) : serverIsAway(this.server, this.isElsewhere);
    }
  }
}

function nameDigits({ digit, ...answer }) {
  return { ...answer, label: digit < 0 ? "" : String(digit), classes: DIGITS };
}

async function contentOf(response) {
  const text = await response.text();
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    // An error page of a proxy is not JSON; the status is enough.
  }
  if (!response.ok || content === null) {
    throw requestIsRefused(response.status, content?.error);
  }
  return content;
}
