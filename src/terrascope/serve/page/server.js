// What the page asks of the server. Addresses are relative: the page may live below a proxy's prefix.

import { forTab } from "./kept.js";
import { readEvents } from "./sse.js";

const TOKEN_KEY = "terrascope-token";

/** A refusal: `message` is one sentence; `field` the field of the form that it is about, or null. */
export class Refusal extends Error {
  constructor(message, { status = 0, code = "", field = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, field, retryAfter });
  }
}

export const token = { get: () => forTab.get(TOKEN_KEY), set: (text) => forTab.set(TOKEN_KEY, text) };

async function request(address, options = {}) {
  const headers = { ...options.headers };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let response;
  try {
    response = await fetch(address, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached; see whether it still runs.");
  }
  if (!response.ok) throw await refusalOf(response);
  return response;
}

async function refusalOf(response) {
  const body = await response.json().catch(() => ({}));
  const { message, code, field } = body.error ?? {};
  return new Refusal(message ?? `The server refused: ${response.status} ${response.statusText}`.trim(), {
    status: response.status,
    code,
    field: response.status === 401 ? "token" : (field ?? null),
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

/** `GET /v1/limits`. */
export const readLimits = async () => (await request("v1/limits")).json();

/**
 * Ask, and yield `{name, data}` of every event. Aborting `signal` cancels the question on the server.
 *
 * Throws a Refusal for an `error` event, and where the stream ends before its answer.
 */
export async function* ask(form, signal) {
  const response = await request("v1/ask", {
    method: "POST",
    body: form,
    headers: { Accept: "text/event-stream" },
    signal,
  });
  try {
    for await (const { name, data } of readEvents(response.body)) {
      const told = JSON.parse(data);
      if (name === "error") throw new Refusal(told.error.message, told.error);
      yield { name, data: told };
      if (name === "answer") return;
    }
  } catch (error) {
    if (error instanceof Refusal || error.name === "AbortError") throw error;
    throw new Refusal("The connection to the server broke off before the answer was complete.");
  }
  throw new Refusal("The server ended its reply before the answer was complete.");
}

export const fileAddress = (id, name) => `v1/answers/${encodeURIComponent(id)}/${encodeURIComponent(name)}`;

/** A file of an answer as a Blob: for servers that want a token, which a link cannot bear. */
export const fetchFile = async (id, name) => (await request(fileAddress(id, name))).blob();

/** Have the server forget an answer and its files. */
export const forget = (id) => request(`v1/answers/${encodeURIComponent(id)}`, { method: "DELETE" });
