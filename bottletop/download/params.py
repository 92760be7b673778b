"""Section ``download`` of params.yaml.

It is kept apart from the code that unpacks: checking settings needs no image library.
"""

from typing import Annotated, Literal

from msgspec import Meta

from bottletop.core.settings import Params

NearDuplicates = Literal["group", "ignore", "drop"]


class DownloadParams(Params, frozen=True, kw_only=True):
    """Section ``download`` of params.yaml."""

    max_rejected: Annotated[float, Meta(ge=0, le=1)] = 0.02  # fraction of the images that may be unreadable
    near_duplicates: NearDuplicates = "group"  # drop: of a class's near duplicates, only one is taken
