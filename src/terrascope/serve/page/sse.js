// Server-sent events out of text that may be cut anywhere (WHATWG HTML, 9.2.6): what EventSource reads, for a POST.

export class EventParser {
  #rest = "";
  #name = "";
  #data = [];
  #started = false;

  /** Events `{name, data}` that this text completes; `data` is text. */
  push(text) {
    this.#rest += text;
    if (!this.#started && this.#rest) {
      this.#started = true;
      if (this.#rest.startsWith("\uFEFF")) this.#rest = this.#rest.slice(1);
    }
    const events = [];
    for (;;) {
      const end = this.#rest.search(/[\r\n]/);
      // A CR at the very end may be the first half of CRLF: whether a line follows is not known yet.
      if (end < 0 || (this.#rest[end] === "\r" && end === this.#rest.length - 1)) return events;
      const line = this.#rest.slice(0, end);
      const isPair = this.#rest[end] === "\r" && this.#rest[end + 1] === "\n";
      this.#rest = this.#rest.slice(end + (isPair ? 2 : 1));
      if (line) this.#take(line);
      else this.#finish(events);
    }
  }

  #take(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
  }

  #finish(events) {
    if (this.#data.length) events.push({ name: this.#name || "message", data: this.#data.join("\n") });
    this.#name = "";
    this.#data = [];
  }
}

/** The events of a body, one by one. An event that the body breaks off in is dropped, as the standard says. */
export async function* readEvents(body) {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
    // A last CR is complete once nothing can follow it.
    yield* parser.push(decoder.decode() + "\n");
  } finally {
    await reader.cancel().catch(() => {});
  }
}
