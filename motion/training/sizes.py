"""The whole configuration of a net, so that its weights do not depend on defaults that may change."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

from torch import nn


def complete(net: type[nn.Module], given: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments that were given, and the constructor's defaults for all others."""
    parameters = signature(net).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not Parameter.empty} | given
