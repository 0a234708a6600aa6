// Numbers and mathematics as elements.  Nothing is computed here: a number is written, with its whole value beside it.

const SVG = "http://www.w3.org/2000/svg";

function set(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function make(tag, attributes = {}, ...children) {
  return set(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return set(document.createElementNS(SVG, tag), attributes, children);
}

// The only way in which a number becomes text: so many significant digits, fewer where 0s come first, and an exponent
// where it is very small or large.
function written(value, digits) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const some = size < 0.1 ? digits - 1 : digits;
  const text = size < 1e-3 || size >= 1e3 ? value.toExponential(some - 1) : value.toPrecision(some);
  return text.replace("e+", "e").replace(/^-/, "−");
}

// A number as it is shown: the text, and in data-value and the title all of it.
function number(tag, value, digits, data, attributes = {}) {
  const named = Object.fromEntries(Object.entries(data).map(([name, what]) => [`data-${name}`, what]));
  return make(tag, { class: "n", ...attributes, ...named, "data-value": String(value), title: String(value) }, written(value, digits));
}

// How strong a colour is: p1 to p6 above 0, m1 to m6 below.
function heat(value, peak) {
  if (!peak || !value) return "";
  return (value > 0 ? "p" : "m") + Math.min(6, Math.max(1, Math.ceil((6 * Math.abs(value)) / peak)));
}

function mathematics(pieces) {
  const tags = { i: "i", sub: "sub", sup: "sup" };
  return pieces.map(([kind, text]) => (tags[kind] ? make(tags[kind], {}, text) : text));
}

function formula(pieces, text) {
  return make("span", { class: "math", role: "math", "aria-label": text }, ...mathematics(pieces));
}
