"""The templates of the pages."""

from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup


def environment(
    escape: Callable[[str], str], package: str = "mvae_jax.report", **options: Any
) -> jinja2.Environment:
    """Return what renders them: every text is escaped but Markup; a missing name is an error."""

    def finalize(value: Any) -> Any:
        return escape(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        **options,
    )
