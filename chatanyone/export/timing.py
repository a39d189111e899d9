"""What each exported net costs in ONNX Runtime, beside torch: CPU time on one thread, for `chatanyone bench --onnx`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from chatanyone.config import Config
from chatanyone.errors import CheckpointError, MediaError
from chatanyone.export import files
from chatanyone.export.export import load, weights_in_use
from chatanyone.export.graphs import Graph
from chatanyone.export.manifest import FORMAT

ROUNDS, ROUND_S = 7, 0.05  # rounds of each, by turns, and how long one lasts at least


@dataclass(frozen=True)
class OnnxRow:
    """Milliseconds of CPU time of one call: medians over the rounds."""

    net: str
    torch_ms: float
    onnx_ms: float


def onnx_rows(folder: Path, config: Config) -> list[OnnxRow]:
    """One row for each file of an export.

    Raises:
        ChatAnyoneError: the folder is no export, or one of other weights than those in use.
    """
    content = _manifest(folder)
    rate, size = content["fps"], content["size"]
    engine = load(replace(config, media=replace(config.media, fps="/".join(map(str, rate)), size=size)))
    ours = weights_in_use(engine, config)
    for kind, entry in content["weights"].items():
        if entry["sha256"] != ours[kind]["sha256"]:
            raise CheckpointError(f"{folder} was exported from other weights of kind {kind} than those in use; export them "
                                  "again or give the same --config")
    here = {graph["name"] for graph in content["graphs"]}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_row(graph, folder) for graph in engine.graphs(config.media.width_height) if graph.name in here]
    finally:
        torch.set_num_threads(threads)


def onnx_table(rows: list[OnnxRow]) -> str:
    """For people."""
    lines = [f"{'exported net':<16}{'torch ms':>10}{'onnx ms':>10}{'torch / onnx':>14}"]
    lines += [f"{row.net:<16}{row.torch_ms:>10.2f}{row.onnx_ms:>10.2f}{row.torch_ms / row.onnx_ms:>14.2f}" for row in rows]
    return "\n".join([*lines, "CPU time of a call, one thread"])


def _row(graph: Graph, folder: Path) -> OnnxRow:
    net, inputs = files.session(folder / graph.file), graph.random_inputs(0)
    named = {port.name: tensor.numpy() for port, tensor in zip(graph.inputs, inputs)}
    with torch.inference_mode():
        calls: list[Callable[[], Any]] = [lambda: graph.module(*inputs), lambda: net.run(None, named)]
        spent: list[list[float]] = [[], []]
        for _ in range(ROUNDS + 1):
            for call, times in zip(calls, spent):
                times.append(_call_ms(call))
    torch_ms, onnx_ms = (median(times[1:]) for times in spent)  # the first warms up
    return OnnxRow(graph.name, round(torch_ms, 3), round(onnx_ms, 3))


def _call_ms(call: Callable[[], Any]) -> float:
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < ROUND_S:
        call()
        count += 1
    return 1000 * spent / max(count, 1)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        content = {}
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise MediaError(f"{folder} holds no export; make one with `chatanyone export onnx --output {folder}`")
    return content
