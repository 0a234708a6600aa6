"""A character model as one page that writes text, without a request: the module of ``javascript.py``, and a form."""

from minirnn.formats.sources import javascript
from minirnn.formats.sources.plan import Plan

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>A character model that writes</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
textarea { font: inherit; width: 100%; box-sizing: border-box; }
label { display: block; margin-top: 1rem; }
output { display: block; white-space: pre-wrap; overflow-wrap: anywhere; margin: 1rem 0; min-height: 8rem; }
button { font: inherit; margin-top: 1rem; }
</style>
</head>
<body>
<main>
<h1>A character model that writes</h1>
<form id="form">
<label for="prompt">How the text begins</label>
<textarea id="prompt" rows="2">The </textarea>
<label for="temperature">Temperature: <span id="shown">0.7</span>; at 0 it writes what is likeliest</label>
<input id="temperature" type="range" min="0" max="1.5" step="0.1" value="0.7">
<label for="length">Characters</label>
<input id="length" type="number" min="1" max="10000" value="400">
<div><button>Write</button></div>
</form>
<output id="text" for="prompt temperature length"></output>
<p id="test"></p>
</main>
<script type="module">
MODULE
/* The page. */
const element = (id) => document.getElementById(id);
let turn = 0;

function show(event) {
  event?.preventDefault();
  const mine = ++turn, prompt = element("prompt").value;
  const characters = write(prompt, element("length").valueAsNumber || 1, element("temperature").valueAsNumber);
  let text = prompt;
  function some() {
    const until = performance.now() + 12;
    for (;;) {
      const { value, done } = characters.next();
      if (mine !== turn) return;
      if (!done) text += value;
      if (done || performance.now() > until) {
        element("text").textContent = text;
        document.body.dataset.done = done;
        if (!done) requestAnimationFrame(some);
        return;
      }
    }
  }
  some();
}

element("temperature").addEventListener("input", () => {
  element("shown").textContent = element("temperature").value;
});
element("form").addEventListener("submit", show);
element("test").textContent = selfTest() ? "Self-test: the numbers of minirnn." : "Self-test: OTHER NUMBERS.";
show();
</script>
</body>
</html>
"""


def written(plan: Plan) -> str:
    """The page; ValueError for a model that is no character model that writes."""
    if plan.task != "next":
        raise ValueError("a page writes text: it takes a character model for the task next, as minirnn train makes it")
    return PAGE.replace("MODULE", javascript.written(plan))
