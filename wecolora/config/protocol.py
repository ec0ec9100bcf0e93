"""Protocols: named readings of the recipe, where the paper and its authors' code differ or the paper is silent.

docs/protocol.md tells each choice with the paper's sentence, or the behaviour of the published code, beside it. Each is
a key of the config as well, and a key that the config gives wins. What a protocol chooses for a source of images
stands with that source (wecolora/config/datasets.py): pixel statistics of its own are those of the probes alone.
"""

from __future__ import annotations

from typing import Any, Literal

from wecolora.config.datasets import SOURCES

Protocol = Literal["paper", "authors_code"]
Normalisation = Literal["teacher", "imagenet"]
PROTOCOLS: dict[str, dict[str, Any]] = {
    "paper": {
        "normalisation": "teacher",
        "distill": {"layers": "paper", "loss_point": "after_norm", "lr_scaling": "none", "leftover": "use"},
    },
    "authors_code": {
        "normalisation": "imagenet",
        "distill": {
            "layers": "authors_code",
            "loss_point": "authors_code",
            "lr_scaling": "linear_256",
            "leftover": "drop",
        },
    },
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def with_protocol(values: dict[str, Any]) -> dict[str, Any]:
    """Return a config's values, with its protocol's choices where it makes none."""
    protocol = values.get("protocol", "paper")
    distill, datasets = values.get("distill", {}), values.get("datasets", {})
    chosen = PROTOCOLS.get(protocol) if isinstance(protocol, str) else None
    if chosen is None or not isinstance(distill, dict) or not isinstance(datasets, dict):
        return values  # refused for what it is
    return {
        **chosen,
        **values,
        "distill": {**chosen["distill"], **distill},
        "datasets": {name: _of_source(protocol, entry) for name, entry in datasets.items()},
    }


def _of_source(protocol: str, entry: Any) -> Any:
    """Return a data set's entry, with what the protocol chooses for its source."""
    name = entry.get("source") if isinstance(entry, dict) else None
    source = SOURCES.get(name) if isinstance(name, str) else None
    return {**source.of_protocol.get(protocol, {}), **entry} if source else entry
