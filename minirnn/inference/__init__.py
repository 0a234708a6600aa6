"""Inference beyond ``model(x)``: streams of single steps, and weights in fewer bits."""
