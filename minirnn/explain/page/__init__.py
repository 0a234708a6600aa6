"""A page to step through in a browser.

story.py      a scene as data
sums.py       the running sums of a weight's gradient
chart.py      the gradient-flow chart
typeset.py    formulas in pieces that a page sets as mathematics
writing.py    a trained model inside the page, which writes on
document.py   the story as one HTML file
serve.py      the page with controls, for a browser on this machine
assets/       its style and scripts
"""

from minirnn.explain.page.document import Page, as_script_data, page_of, policy, write_page

__all__ = ["Page", "as_script_data", "page_of", "policy", "write_page"]
