"""The tags of a result, worked out alike on both sides: local to read, the owner's to match on."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["result_tags"]


@lru_cache(8192)
def result_tags(name: str, input_tags: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The tags of what an operation gives.

    Args:
        name: canonical name, ``torch.Tensor.mean``.
        input_tags: the tags of each object among its arguments.

    Returns:
        The sorted union of the inputs' tags and the operation's short name: ``("ages", "mean")``.
    """
    tags = {name.rpartition(".")[2].removesuffix("=")}
    tags.update(*input_tags)
    return tuple(sorted(tags))
