"""What JavaScript files are made of beside their layers: the same products, tanh and exp as in C, bit for bit.

``f`` rounds to float32, as C does after every operation: a sum, product, quotient or root that was rounded to float64
before is the same then.
"""

HEAD = """\
const f = Math.fround;
"""
BYTES = """\
/* Bytes in characters: 4 are 5 digits of base 85, the lowest byte first, the highest digit first.  Digits are the code
   points from 35 on without 60 and 92, which end something in a page or a string. */
function bytes(text) {
  const all = new Uint8Array((text.length / 5) * 4);
  for (let k = 0, at = 0; k < text.length; k += 5, at += 4) {
    let word = 0;
    for (let n = 0; n < 5; n++) {
      const code = text.charCodeAt(k + n);
      word = word * 85 + code - 35 - (code > 60) - (code > 92);
    }
    for (let n = 0; n < 4; n++) all[at + n] = word >>> (8 * n);
  }
  return all;
}
"""
FLOATS = """\
function floats(count, text) {
  const view = new DataView(bytes(text).buffer);
  return new Float32Array(count).map((_, k) => view.getFloat32(4 * k, true));
}
"""
INTEGERS = """\
function integers(count, text) {
  return new Int8Array(bytes(text).buffer, 0, count);
}
"""
PARTS = """\
const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);
let power = 1;

/* exp(r) - 1, and 2^n in power, where a = n ln 2 + r: n is left in the lowest bits by a number that has no fraction. */
function parts(a) {
  const moved = f(f(a * 1.4426950216293335) + 12582912);
  const n = f(moved - 12582912);
  number[0] = moved;
  bits[0] = (bits[0] << 23) + 0x3f800000;
  power = number[0];
  const r = f(f(a - f(n * 0.693359375)) + f(n * 0.00021219444170128554));
  let s = f(0.0013888889225199819 + f(r * 0.00019841270113829523));
  s = f(0.008333333767950535 + f(r * s));
  s = f(0.0416666679084301 + f(r * s));
  s = f(0.1666666716337204 + f(r * s));
  s = f(0.5 + f(r * s));
  return f(r + f(f(r * r) * s));
}
"""
TANH = """\
/* E / (E + 2) with E = exp(2 a) - 1, which is as exact near 0 as elsewhere. */
function tanh(a) {
  const rest = parts(Math.max(-18.399999618530273, Math.min(18.399999618530273, f(a + a))));
  const e = f(f(power * rest) + f(power - 1));
  return f(e / f(e + 2));
}
"""
EXP = """\
/* exp(a / 2) squared, so that infinity and 0 are reached. */
function exp(a) {
  const rest = parts(Math.max(-87, Math.min(87, f(a * 0.5))));
  const root = f(power + f(power * rest));
  return f(root * root);
}
"""
PRODUCT = """\
/* y[0 .. N] += x[0 .. K] W, from the entries xo, Wo and yo on; four lines of W at a time. */
function product(K, N, x, xo, W, Wo, y, yo) {
  let k = 0;
  for (; k + 4 <= K; k += 4, Wo += 4 * N) {
    const a = x[xo + k], b = x[xo + k + 1], c = x[xo + k + 2], d = x[xo + k + 3];
    for (let j = 0; j < N; j++)
      y[yo + j] = f(f(f(f(y[yo + j] + f(a * W[Wo + j])) + f(b * W[Wo + N + j])) + f(c * W[Wo + 2 * N + j]))
        + f(d * W[Wo + 3 * N + j]));
  }
  for (; k < K; k++, Wo += N) {
    const a = x[xo + k];
    for (let j = 0; j < N; j++) y[yo + j] = f(y[yo + j] + f(a * W[Wo + j]));
  }
}
"""
NARROW = """\
/* The same with W of int8 and a scale for each column. */
function product8(K, N, x, xo, W, Wo, scale, y, yo) {
  const sum = new Float32Array(N);
  product(K, N, x, xo, W, Wo, sum, 0);
  for (let j = 0; j < N; j++) y[yo + j] = f(y[yo + j] + f(sum[j] * scale[j]));
}
"""
PICKED = """\
/* y += line k of a matrix. */
function pick(N, W, k, y) {
  for (let j = 0; j < N; j++) y[j] = f(y[j] + W[k * N + j]);
}
"""
PICKED_NARROW = """\
/* The same of int8, with a scale for each column, or one for the line. */
function pick8(N, W, k, scale, byRow, y) {
  for (let j = 0; j < N; j++) y[j] = f(y[j] + f(W[k * N + j] * scale[byRow ? k : j]));
}
"""
SYMBOLS = """\
/* Indices of the characters of a text, 0 for those that are not there. */
export function encode(text) {
  return Array.from(text, (c) => Math.max(0, symbols.indexOf(c.codePointAt(0), 1)));
}

/* The characters at indices. */
export function decode(indices) {
  return Array.from(indices, (k) => String.fromCodePoint(symbols[k])).join("");
}
"""
WRITE = """\
/* Characters that go on from a prompt, one after another, never the unknown one; at temperature 0 the likeliest. */
export function* write(prompt, length, temperature = 0.7, random = Math.random) {
  const s = state();
  const start = encode(prompt);
  let y = new Float32Array(outputs);
  for (const k of start.length ? start : [0]) y = step(s, k);
  for (let n = 0; n < length; n++) {
    let next = 1;
    for (let j = 2; j < outputs; j++) if (y[j] > y[next]) next = j;
    if (temperature > 0) {
      const p = Array.from(y, (v, j) => (j ? Math.exp((v - y[next]) / temperature) : 0));
      let left = random() * p.reduce((a, b) => a + b);
      for (let j = 1; j < outputs; j++) {
        left -= p[j];
        if (left < 0) {
          next = j;
          break;
        }
      }
    }
    yield String.fromCodePoint(symbols[next]);
    y = step(s, next);
  }
}
"""
