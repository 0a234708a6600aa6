// Python, in a thread of its own, so that the page answers while it computes. It is told {run: name, source}; it tells what
// running.py says, and {kind: "done", good} after a cell. First it says {kind: "ready"}; {kind: "failed", text} is the end.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const tell = (kind, more) => self.postMessage(JSON.stringify({ kind, ...more }));

async function start() {
  const faults = [];
  const python = await loadPyodide({ indexURL: new URL("pyodide/", import.meta.url).href });
  await python.loadPackage("numpy", { messageCallback: () => {}, errorCallback: (text) => faults.push(text) });
  const answer = await fetch(new URL("minirnn.zip", import.meta.url));
  if (!answer.ok) faults.push(`${answer.url}: ${answer.status}`);
  if (faults.length) throw new Error(faults.join("; "));
  const place = python.runPython("import sysconfig; sysconfig.get_path('purelib')");
  python.unpackArchive(await answer.arrayBuffer(), "zip", { extractDir: place });
  const cells = python.pyimport("running").Cells((message) => self.postMessage(message));
  cells.as_notebook();
  return cells;
}

const failed = (error) => tell("failed", { text: error.message });
const cells = start();
cells.then(() => tell("ready"), failed);
self.onmessage = ({ data }) =>
  cells.then((ready) => ready.run(data.run, data.source)).then((good) => tell("done", { good }), failed);
