"""The number of examples that Hypothesis tries, chosen by ``HYPOTHESIS_PROFILE`` (fast, ci or long)."""

import os

from hypothesis import HealthCheck, settings

# Examples here are whole conversations, which are large and slow.
SUPPRESSED = (HealthCheck.too_slow, HealthCheck.data_too_large)

for name, examples in (("fast", 50), ("ci", 200), ("long", 5_000)):
    settings.register_profile(
        name, max_examples=examples, deadline=None, print_blob=True, suppress_health_check=SUPPRESSED
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
