"""The templates of the pages."""

from typing import Any

import jinja2


def environment(**options: Any) -> jinja2.Environment:
    """Returns what renders them; a name that a template lacks is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mvae_jax.report", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        **options,
    )
