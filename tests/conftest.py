"""Hypothesis profiles: ``dev`` draws anew each time, ``ci`` draws the same examples, more of them, on every machine."""

import os

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]  # a gradient check is a few hundred passes forward
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("ci", max_examples=50, deadline=None, suppress_health_check=QUIET, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
