// The controls of a served page: they ask Python for the scene as it would be, and show what comes back.

const PAUSE = 250;  // milliseconds after the last key

function control(given) {
  const form = find("controls"), slider = form.elements.scale;
  let waiting = 0, asked = null;
  form.hidden = false;
  slider.min = Math.min(0, Number(given.controls.scale));
  slider.max = Math.max(4, Number(given.controls.scale));
  for (const element of [...form.elements]) {
    if (element.name in given.controls) element.value = given.controls[element.name];
    else if (element.name) element.closest("label").remove();
  }
  const said = () => (form.querySelector("output").textContent = Number(slider.value).toFixed(2));
  const problem = (sentence) => (find("problem").textContent = sentence);

  async function ask() {
    asked?.abort();
    asked = new AbortController();
    const { signal } = asked, query = new URLSearchParams(new FormData(form));
    try {
      const answer = await fetch(`story?${query}`, { signal });
      const told = await answer.json();
      if (signal.aborted) return;
      problem(told.problem || "");
      if (told.problem) return;
      play(false);
      begin(told, story ? `#${name(at)}` : location.hash);
      history.replaceState(null, "", `?${query}#${name(at)}`);
    } catch (error) {
      if (!signal.aborted) problem("The server that made this page does not answer: is minirnn explain --serve still running?");
    }
  }

  form.addEventListener("input", () => {
    said();
    clearTimeout(waiting);
    waiting = setTimeout(ask, PAUSE);
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  said();
  problem(given.problem || "");
}
