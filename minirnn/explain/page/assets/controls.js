// The controls of a served page: they ask Python for the scene as it would be, and show what comes back.

const PAUSE = 250;  // milliseconds after the last key

function control(data) {
  const form = find("controls"), slider = form.elements.scale;
  let waiting = 0, asked = null;
  form.hidden = false;
  slider.min = Math.min(0, Number(data.controls.scale));
  slider.max = Math.max(4, Number(data.controls.scale));
  for (const element of [...form.elements]) {
    if (element.name in data.controls) element.value = data.controls[element.name];
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
      const reply = await answer.json();
      if (signal.aborted) return;
      problem(reply.problem || "");
      if (reply.problem) return;
      play(false);
      begin(reply, story ? `#${name(at)}` : location.hash);
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
  problem(data.problem || "");
}
