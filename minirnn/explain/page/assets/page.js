// The page: which moment it is, and what of the story is shown then.

const find = (id) => document.getElementById(id);
const DIGITS = { line: 3, sum: 3, table: 4 };
const WIDE = "(min-width: 1180px)";  // two columns
const PACE = 800;  // milliseconds a moment
const NARROW = 8;  // units whose numbers stand in columns under a heading; more have a label each
const WIDEST = 12;  // units; of wider states only the lit line shows its numbers

let story, drawn, at = 0, gate = "", timer = 0, noting = 0, shownSums = [];

// ---------------------------------------------------------------- moments

function moment() {
  const [line, t, ...done] = story.moments[at];
  const phase = story.lines[line].phase;
  const later = (name) => ["forward", "loss", "backward", "clip"].indexOf(phase) > ["forward", "loss", "backward", "clip"].indexOf(name);
  const ahead = (from) => (s) => later("forward") || (phase === "forward" && (s < t || (s === t && line >= from)));
  const behind = (from) => (s) => later("backward") || (phase === "backward" && (s > t || (s === t && line >= from)));
  const { state, prediction, first, sent, added } = story.places;
  return {
    line, t, done, phase, started: ahead(0), state: ahead(state), predicted: ahead(prediction),
    arrived: behind(first), sent: behind(sent), added: behind(added),
  };
}

// Stretches of moments that belong to one step of one phase.
function stretches() {
  const found = [];
  story.moments.forEach(([line, t], k) => {
    const phase = story.lines[line].phase, last = found.at(-1);
    if (last && last.phase === phase && last.t === t) last.end = k + 1;
    else found.push({ phase, t, start: k, end: k + 1 });
  });
  return found;
}

function stretchAt(k) {
  return story.stretches.findIndex(({ start, end }) => start <= k && k < end);
}

// The same line a whole time step on or back; the first line where the phase is another.
function whole(direction) {
  const here = stretchAt(at), there = Math.min(story.stretches.length - 1, Math.max(0, here + direction));
  const from = story.stretches[here], to = story.stretches[there];
  if (here === there) return direction < 0 ? 0 : story.moments.length - 1;
  return from.phase === to.phase ? Math.min(to.end - 1, to.start + at - from.start) : to.start;
}

function name(k) {
  const { phase, t, start } = story.stretches[stretchAt(k)];
  return t < 0 ? `${phase}-${k - start + 1}` : `${phase}-${t}-${k - start + 1}`;
}

// The moment that an address names; the nearest where the story has none of that name.
function named(hash) {
  const [phase, ...numbers] = hash.replace("#", "").split("-");
  const [t, line] = numbers.length === 2 ? [Number(numbers[0]), numbers[1] - 1] : [-1, numbers[0] - 1];
  const same = story.stretches.filter((one) => one.phase === phase);
  if (!same.length || !(line >= 0)) return 0;
  const one = same.find((stretch) => stretch.t === t) || same.reduce((a, b) => (a.t > b.t ? a : b));
  return Math.min(one.end - 1, one.start + line);
}

function go(k) {
  at = Math.min(story.moments.length - 1, Math.max(0, k));
  show();
  if (location.protocol === "about:") return;  // within a notebook, where the page has no address of its own
  clearTimeout(noting);  // browsers refuse an address that changes many times a second
  noting = setTimeout(() => history.replaceState(null, "", `#${name(at)}`), 200);
}

function choose(t) {
  const phase = moment().phase === "forward" ? "forward" : "backward";
  const one = story.stretches.find((stretch) => stretch.phase === phase && stretch.t === t);
  const here = story.stretches[stretchAt(at)];
  go(here.phase === phase ? Math.min(one.end - 1, one.start + at - here.start) : one.start);
}

// ---------------------------------------------------------------- showing

function called(row) {
  const long = row.math.reduce((length, [, text]) => length + text.length, 0) > 5;
  return make("span", { class: row.plain ? "of plain" : long ? "of long" : "of" }, ...mathematics(row.math));
}

// Units that have columns stay on one line, under their heading, however narrow that is.
const lined = (values, row) => (values.length <= NARROW && !row.labels ? "cells one-line" : "cells");

function cells(row, line, t) {
  const all = story.values[row.key], here = row.at ?? (all.length === 1 ? 0 : t);
  const data = { name: row.name, line, t: all.length === 1 && row.at === undefined ? -1 : here };
  return make("ul", { class: lined(all[here], row), "aria-label": row.name.replace(/1$/, "′") + (row.note ? `, ${row.note}` : "") },
    ...all[here].map((value, i) => make("li", { class: `cell ${heat(value, story.peaks[row.key])}` },
      make("span", { class: row.labels ? "unit-label said" : "unit-label", "aria-hidden": row.labels ? null : "true" }, row.labels ? row.labels[i] : String(i + 1)),
      number("span", value, DIGITS.line, { ...data, i }))));
}

function rowsOf(k, t) {
  return story.lines[k].rows.map((row) => make("div", { class: "row" },
    called(row), cells(row, k, t),
    ...(row.note ? [make("span", { class: "note" }, row.note)] : [])));
}

// What is not computed yet has its place, so that nothing moves when it comes.
function emptyRows(k) {
  return story.lines[k].rows.map((row) => make("div", { class: "row empty", "aria-hidden": "true" },
    called(row),
    make("span", { class: lined(story.values[row.key][0], row) }, ...story.values[row.key][0].map((_, i) => make("span", { class: "cell" }, make("span", { class: row.labels ? "unit-label said" : "unit-label" }, row.labels ? row.labels[i] : String(i + 1))))),
    ...(row.note ? [make("span", { class: "note" }, row.note)] : [])));
}

const units = () => story.values[story.strips[0]][0].length;
const steady = (k) => ["forward", "backward"].includes(story.lines[k].phase) && units() <= WIDEST;

function visible(k, now) {
  if (k === now.line) return true;
  const { phase } = story.lines[k];
  if (!steady(k)) return phase === now.phase && k < now.line && story.lines[k].rows.length < 8;
  if (now.t < 0) return false;
  return phase === "forward" ? now.phase === "backward" || k < now.line : phase === now.phase && k < now.line;
}

function showLines(now) {
  const before = find("lines").querySelector("[aria-current]")?.getBoundingClientRect();
  story.items.forEach((item, k) => {
    if (k === now.line) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
    item.querySelector(".rows").replaceChildren(...(visible(k, now) ? rowsOf(k, now.t) : steady(k) ? emptyRows(k) : []));
  });
  const followed = before && before.bottom > 0 && before.top < innerHeight;  // whoever looks elsewhere is left there
  if (followed || matchMedia(WIDE).matches) story.items[now.line].scrollIntoView({ block: "nearest" });
}

function words(now) {
  const { label, text } = story.lines[now.line];
  const where = now.t < 0 ? { loss: "The loss", clip: "The clip" }[now.phase] : `${now.phase === "forward" ? "Forward" : "Backward"}, step ${now.t + 1} of ${story.T} (t = ${now.t})`;
  return [where, label ? `equation ${label}: ` : "", text];
}

// The rows of a sum after so many steps: where a step changes one row only, a frame has that row.
function sumAfter(sum, done) {
  const width = sum.shape.at(-1), empty = () => Array(width).fill(0);
  const rows = sum.rows.map(empty);
  for (let k = 0; k < done; k++) {
    const frame = sum.frames[k];
    if (Array.isArray(frame)) frame.forEach((values, i) => (rows[i] = values));
    else rows[frame.row] = frame.values;
  }
  return rows;
}

function sumTable(sum, done, lit) {
  const [letter, start, stop] = sum.blocks.find(([g]) => g === gate) || sum.blocks[0];
  const state = done === 0 ? "nothing yet" : done > story.T ? "all steps, clipped" : `${done} of ${story.T} steps`;
  const title = [...sum.math, ...(sum.blocks.length > 1 ? [["sub", letter]] : [])];
  const caption = make("caption", {}, make("span", { class: "math" }, ...mathematics(title)), ` ${state}`);
  if (!sum.frames) return make("table", {}, caption, make("tbody", {}, make("tr", {}, make("td", {}, `${sum.shape.join(" × ")} numbers: too many to draw`))));
  const frame = sum.frames[done - 1], only = lit && frame && !Array.isArray(frame) ? frame.row : -1;
  const columns = Array.from({ length: stop - start }, (_, i) => make("th", { scope: "col" }, String(i + 1)));
  const body = sumAfter(sum, done).map((values, i) => make("tr", { class: i === only ? "lit" : null },
    make("th", { scope: "row" }, sum.rows[i] || "sum"),
    ...values.slice(start, stop).map((value, j) => number("td", value, DIGITS.sum, { weight: sum.name, done, row: sum.places[i], column: start + j }, { class: `n ${heat(value, sum.peak)}` }))));
  return make("table", {}, caption, make("thead", {}, make("tr", {}, make("td", {}), ...columns)), make("tbody", {}, ...body));
}

function showSums(now) {
  const { adds } = story.lines[now.line];
  story.sums.forEach((sum, k) => {
    const done = now.done[k], lit = adds === sum.name, key = `${done} ${gate} ${lit}`;
    if (shownSums[k] === key) return;
    shownSums[k] = key;
    const part = find("sums").children[k];
    part.classList.toggle("lit", lit);
    part.firstChild.replaceChildren(sumTable(sum, done, lit));
    if (lit && matchMedia(WIDE).matches) part.scrollIntoView({ block: "nearest" });
  });
}

function showTable(now) {
  story.tableRows.forEach((row, t) => (t === now.t ? row.setAttribute("aria-current", "step") : row.removeAttribute("aria-current")));
}

function showFlow(now) {
  const place = find("flow");
  place.replaceChildren(flow(story, now, Math.max(260, place.clientWidth), choose));
}

function show() {
  const now = moment(), [where, label, text] = words(now);
  light(drawn, now);
  showLines(now);
  showFlow(now);
  showSums(now);
  showTable(now);
  find("said").replaceChildren(make("b", {}, `${where}, `), label,
    make("span", { class: "math", "aria-hidden": "true" }, ...mathematics(story.lines[now.line].math)), make("span", { class: "hidden" }, text));
  find("where").textContent = now.t < 0 ? "" : `at t = ${now.t}`;
  const slider = find("moment");
  slider.value = at;
  slider.setAttribute("aria-valuetext", `${where}, ${label}${text}`);
  for (const id of ["first", "step-back", "back"]) find(id).setAttribute("aria-disabled", at === 0);
  for (const id of ["last", "step-on", "on"]) find(id).setAttribute("aria-disabled", at === story.moments.length - 1);
  follow(now.t);
}

// Keep the step that is lit in sight where the network is wider than the page.
function follow(t) {
  const place = find("network");
  if (t >= 0 && place.scrollWidth > place.clientWidth) place.scrollLeft = LEFT + (t + 0.5) * PITCH - place.clientWidth / 2;
}

// ---------------------------------------------------------------- setting up

function list(phase, title) {
  const items = story.lines.flatMap((line, k) => {
    if (line.phase !== phase) return [];
    const item = make("li", { class: `line ${phase}${line.code ? " code" : ""}`, "data-line": k },
      make("span", { class: "label" }, line.label),
      make("span", {}, formula(line.math, line.text), ...(line.remark.length ? [make("span", { class: "remark" }, ...mathematics(line.remark))] : [])),
      make("div", { class: "rows" }));
    item.addEventListener("click", () => {
      const one = story.stretches.find((s) => s.phase === phase && (s.t < 0 || s.t === Math.max(0, moment().t)));
      go(story.moments.findIndex(([l, t]) => l === k && t === one.t));
    });
    story.items[k] = item;
    return [item];
  });
  return [make("h3", {}, title), make("ol", {}, ...items)];
}

function stepsTable() {
  const heads = ["t", "reads", "should say", "p of that", "loss", "says", "p of that", "‖∂L/∂h‖", "σ of ∂h′/∂h"];
  story.tableRows = story.steps.map((step, t) => {
    const n = (key) => number("td", step[key], DIGITS.table, { name: key, t });
    return make("tr", {}, make("th", { scope: "row" }, String(t)), make("td", {}, step.x), make("td", {}, step.target), n("p"), n("loss"), make("td", {}, step.said), n("surest"), n("norm"), n("stretch"));
  });
  return make("table", {}, make("caption", {}, "σ is the largest singular value of the step’s Jacobian."),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, ...story.tableRows));
}

function gateChoice() {
  const letters = [...new Set(story.sums.flatMap((sum) => (sum.blocks.length > 1 ? sum.blocks.map(([letter]) => letter) : [])))];
  const place = find("gates");
  place.hidden = letters.length === 0;
  if (!letters.includes(gate)) gate = letters.at(-1) || "";
  const choices = letters.map((letter) => {
    const input = make("input", { type: "radio", name: "gate", value: letter });
    input.checked = letter === gate;
    input.addEventListener("change", () => { gate = letter; showSums(moment()); });
    return make("label", {}, input, make("i", {}, letter));
  });
  place.replaceChildren(place.querySelector("legend"), ...choices);
}

function begin(next, hash) {
  story = next;
  story.items = [];
  story.stretches = stretches();
  drawn = network(story, choose);
  find("network").replaceChildren(drawn.svg);
  find("lines").classList.toggle("many", units() > NARROW);
  const numbers = Array.from({ length: units() }, (_, i) => make("span", { class: "cell" }, String(i + 1)));
  const head = make("div", { class: "units", "aria-hidden": "true" }, make("span"), make("span"), make("div", {}, make("span", { class: "of" }, "unit"), make("span", { class: "cells one-line" }, ...numbers)));
  find("lines").replaceChildren(head, ...list("forward", "forward"), ...list("loss", "the loss"), ...list("backward", "backward"), ...list("clip", "the clip"));
  find("table").querySelector(".scrolls").replaceChildren(stepsTable());
  gateChoice();
  shownSums = [];
  find("sums").replaceChildren(...story.sums.map((sum) => make("div", { class: "sum" }, make("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": `Gradient of ${sum.name}` }))));
  find("moment").max = story.moments.length - 1;
  at = named(hash);
  show();
}

// ---------------------------------------------------------------- moving

function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => (at < story.moments.length - 1 ? go(at + 1) : play(false)), PACE) : 0;
  const button = find("play");
  button.classList.toggle("running", on);
  button.setAttribute("aria-label", on ? "Pause" : "Play");
  find("said").setAttribute("aria-live", on ? "off" : "polite");  // many moments a minute are too many to be told
}

const MOVES = {
  first: () => 0, "step-back": () => whole(-1), back: () => at - 1,
  on: () => at + 1, "step-on": () => whole(1), last: () => story.moments.length - 1,
};
const KEYS = { ArrowLeft: "back", ArrowRight: "on", PageUp: "step-back", PageDown: "step-on", Home: "first", End: "last" };

function move(way) {
  play(false);
  go(MOVES[way]());
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  const { target, key } = event;
  if (target.matches?.("input:not(#moment), select, textarea")) return;
  if (key === " ") {
    if (target.matches?.("button, summary")) return;
    event.preventDefault();
    play(!timer);
  } else if (key in KEYS) {
    if (key.startsWith("Arrow") && target.closest?.(".scrolls")) return;
    const way = event.shiftKey ? { back: "step-back", on: "step-on" }[KEYS[key]] || KEYS[key] : KEYS[key];
    event.preventDefault();
    move(way);
  }
}

for (const way of Object.keys(MOVES)) find(way).addEventListener("click", () => move(way));
find("play").addEventListener("click", () => play(!timer));
find("moment").addEventListener("input", (event) => { play(false); go(Number(event.target.value)); });
document.addEventListener("keydown", pressed);
addEventListener("hashchange", () => { at = named(location.hash); show(); });
new ResizeObserver(() => story && showFlow(moment())).observe(find("flow"));

const data = JSON.parse(find("story").textContent);
const said = [...(data.served ? [] : data.scene), ...(data.also || [])];  // a served page has controls for the rest
find("made").replaceChildren(...said.map(([what, value]) => make("div", {}, make("dt", {}, what), make("dd", {}, value))));
if (data.lines) begin(data, location.hash);
if (data.served) control(data);
