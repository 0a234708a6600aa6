// A trained model that the page carries: it writes on from what has been read at the moment that is shown.

const FRAME = 12;  // milliseconds of writing until the page is drawn

// The characters that have been read: at a step forward those up to it, later all.
function prefix() {
  const { t, phase } = moment();
  return [...story.controls.text].slice(0, phase === "forward" ? t + 1 : story.T).join("");
}

function writing({ write, selfTest }) {
  const form = find("writing").querySelector("form"), place = find("text"), { temperature, count } = form.elements;
  let turn = 0;

  function from(start) {
    const mine = ++turn, characters = write(start, count.valueAsNumber, temperature.valueAsNumber), fresh = make("b");
    place.replaceChildren(start, fresh);
    function some() {
      if (mine !== turn) return;  // another text has begun
      const until = performance.now() + FRAME;
      let text = "", next;
      do {
        next = characters.next();
        text += next.value ?? "";
      } while (!next.done && performance.now() < until);
      fresh.append(text);
      place.setAttribute("aria-busy", !next.done);
      if (!next.done) requestAnimationFrame(some);
    }
    some();
  }

  temperature.addEventListener("input", () => (form.querySelector("output").textContent = temperature.value));
  form.addEventListener("submit", (event) => { event.preventDefault(); from(prefix()); });
  if (selfTest()) return;
  form.remove();
  place.textContent = "This browser computes other numbers than minirnn: the model does not write here.";
}

document.addEventListener("model", (event) => writing(event.detail));
