"""How the book is built: ``sphinx-build -W -n docs build/docs`` (extra ``docs``).  It makes no request to anywhere."""

import sys
from pathlib import Path

from minirnn import __version__

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

project, author, release = "minirnn", "minirnn's authors", __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "equations", "mathml", "plain", "sources"]
exclude_patterns = ["_ext", "notebooks/*.ipynb"]
nitpicky = True
INSIDE = (
    "core.module.Weighted core.parameters.Parameters core.parameters.Views core.unchanged.Inputs "
    "explain.engine.recording.TracedPass language.evaluation.Predictor "
    "optim.optimisers.Options recurrent.direction.Direction testing.proof.bptt.OverTime testing.proof.stages.Transposed"
)
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|hypothesis|collections|os|pathlib|types)\..*|Array"),  # others' types, whose pages are not here
    *(("py:class", rf"minirnn\.{name}") for name in INSIDE.split()),
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"  # the notebooks: what a page shows has been run for it
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_output_stderr = "error"  # a warning is one
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # there are none, and theirs would come from elsewhere
html_math_renderer = "mathml"

autodoc_inherit_docstrings = False  # what a protocol asks for is described there
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "minirnn"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_copyright = html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "github-dark"
html_theme_options = {"footer_icons": [], "navigation_with_keys": True}
