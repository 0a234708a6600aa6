"""Hypothesis profiles: ``dev`` draws anew each time, ``ci`` draws the same examples, more of them, on every machine;
``mutants`` is for planted faults.
"""

import os

from hypothesis import HealthCheck, Phase, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]  # a gradient check is a few hundred passes forward
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("ci", max_examples=50, deadline=None, suppress_health_check=QUIET, derandomize=True)
settings.register_profile(  # the first failing example will do
    "mutants", max_examples=15, deadline=None, suppress_health_check=QUIET, derandomize=True, phases=[Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
