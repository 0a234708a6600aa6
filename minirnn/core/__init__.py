"""What every layer stands on: backends, weights, the edge where input is checked, and what a cell must offer."""
