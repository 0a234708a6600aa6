// Makes the cells of a page ones that can be changed and run. Python is loaded when the first cell is run, not before.
"use strict";
(() => {
  const own = document.currentScript;
  const article = document.querySelector("article");
  const blocks = [...article.querySelectorAll(".cell, section > .highlight-python:not(.quoted)")];

  function make(name, about = {}, ...inside) {
    const made = Object.assign(document.createElement(name), about);
    made.append(...inside);
    return made;
  }

  class Cell {
    constructor(block, number) {
      this.name = `cell ${number}`;
      this.done = false;
      this.code = block.querySelector(".highlight pre");
      this.shown = make("div", { className: "live-output", hidden: true });
      this.button = make("button", { type: "button", textContent: "Run", title: `run ${this.name}: Shift+Enter` });
      this.button.setAttribute("aria-label", `Run ${this.name}`);
      this.button.onclick = () => page.runTo(this);
      this.made = block.querySelector(".cell_output"); // when the book was made
      const input = block.querySelector(".cell_input") ?? block;
      input.classList.add("live-cell");
      input.append(this.button);
      input.after(this.shown);
      for (const [key, value] of Object.entries({
        contenteditable: "plaintext-only", spellcheck: "false", role: "textbox", "aria-multiline": "true",
        "aria-label": `${this.name}, can be changed`, tabindex: "0",
      })) this.code.setAttribute(key, value);
      this.code.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || !event.shiftKey) return;
        event.preventDefault();
        page.runTo(this);
      });
    }

    begin() {
      this.made?.remove();
      this.outputs = new Map();
      this.shown.replaceChildren();
      this.shown.hidden = true;
    }

    text(stream, text) {
      let last = this.shown.lastElementChild;
      if (last?.dataset.stream !== stream) {
        last = make("pre", { className: "live-text" });
        last.dataset.stream = stream;
        this.shown.append(last);
      }
      last.append(text);
      this.shown.hidden = false;
    }

    output({ key, html, text }) {
      if (!this.outputs.has(key)) {
        this.outputs.set(key, make("div"));
        this.shown.append(this.outputs.get(key));
      }
      const place = this.outputs.get(key);
      if (html === undefined) place.replaceChildren(make("pre", { className: "live-text", textContent: text }));
      else place.innerHTML = html; // of the reader's own program
      this.shown.hidden = false;
    }
  }

  const page = {
    waiting: [], // cells that are to be run; the first of them is the one that runs
    worker: null,

    runTo(cell) {
      const idle = !this.waiting.length;
      const missing = this.cells.slice(0, this.cells.indexOf(cell)).filter((one) => !one.done);
      this.waiting.push(...[...missing, cell].filter((one) => !this.waiting.includes(one)));
      if (!this.worker) this.load();
      else if (idle) this.next();
    },

    runAll() {
      this.stop("");
      this.waiting = [...this.cells];
      this.load();
    },

    load() {
      this.stopping.disabled = false;
      this.say("Python is being loaded");
      const worker = new Worker(new URL("worker.js", own.src), { type: "module" });
      this.worker = worker; // what one says that was stopped meanwhile is not heard
      worker.onmessage = ({ data }) => worker === this.worker && this.told(JSON.parse(data));
      worker.onerror = (event) => this.stop(`Python has ended: ${event.message ?? "it could not be loaded"}`);
    },

    next() {
      const [cell] = this.waiting;
      cell.begin();
      this.stopping.disabled = false;
      this.say(`${cell.name} of ${this.cells.length} runs`);
      this.worker.postMessage({ run: cell.name, source: cell.code.innerText });
    },

    told(message) {
      const [cell] = this.waiting;
      if (message.kind === "text") cell.text(message.stream, message.text);
      else if (message.kind === "output") cell.output(message);
      else if (message.kind === "failed") this.stop(`Python has ended: ${message.text}`);
      else if (message.kind === "ready") this.next();
      else {
        this.waiting.shift();
        cell.done = message.good;
        if (!message.good) this.waiting = [];
        if (this.waiting.length) this.next();
        else this.end(message.good ? `${cell.name} has run` : `${cell.name} failed`);
      }
    },

    stop(words) {
      this.worker?.terminate();
      Object.assign(this, { worker: null, waiting: [] });
      for (const cell of this.cells) cell.done = false;
      this.end(words);
    },

    end(words) {
      this.stopping.disabled = true;
      this.say(words);
    },

    say(words) {
      this.status.textContent = words;
    },

    open() {
      const words =
        location.protocol === "file:"
          ? "The cells of this page run in a browser once a server serves it: python -m http.server."
          : `The cells of this page run in your browser, and can be changed. Python is loaded once, ${own.dataset.size} ` +
            "from this site; nothing is sent anywhere. Training takes longer here than on a machine of yours.";
      const bar = make("div", { className: "live-bar" }, make("p", { textContent: words }));
      article.querySelector("h1").after(bar);
      if (location.protocol === "file:") return;
      this.cells = blocks.map((block, k) => new Cell(block, k + 1));
      this.status = make("span", { className: "live-status" });
      this.status.setAttribute("role", "status");
      this.stopping = make("button", { type: "button", textContent: "Stop", disabled: true });
      this.stopping.onclick = () => this.stop("stopped: what the cells had computed is gone");
      const all = make("button", { type: "button", textContent: "Run all cells" });
      all.onclick = () => this.runAll();
      bar.append(all, this.stopping, this.status);
    },
  };
  page.open();
})();
