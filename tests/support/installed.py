"""Run in an environment that has only the built wheel: what was packaged is whole, and README's example runs."""

import importlib.metadata
import runpy
import sys
from pathlib import Path

import minirnn
import minirnn.kernels
from minirnn.explain.engine.scene import Scene
from minirnn.explain.page import page_of
from minirnn.explain.page.story import tell

here = Path(__file__).resolve().parent
package = Path(minirnn.__file__).parent
assert here not in package.parents or "site-packages" in package.parts, package
assert (package / "py.typed").is_file()
assert (package / "kernels" / "__init__.py").is_file()
assert (package / "kernels" / "cpu" / "forward.py").is_file()
assert "__global__ void step(" in (package / "kernels" / "cuda" / "scan.cu").read_text()
assert "updates.cu" in {path.name for path in (package / "kernels" / "cuda").iterdir()}
assert not (package / "kernels").is_symlink()
assert "<script" in page_of(tell(Scene("abc", hidden_size=2)))
files = importlib.metadata.files("minirnn") or []
tops = {f.parts[0] for f in files if f.parts[0] != ".." and not f.parts[0].endswith(".dist-info")}
assert tops == {"minirnn"}, tops
(here / "poems.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
sys.argv = [sys.argv[1], str(here / "poems.txt")]
runpy.run_path(sys.argv[0], run_name="__main__")
print("the installed wheel is whole")
