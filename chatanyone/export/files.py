"""A graph as a file: written by torch's exporter, checked by onnx, compared with torch in ONNX Runtime."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone.errors import ChatAnyoneError
from chatanyone.export.graphs import Graph

LEAST_OPSET, OPSET, MOST_OPSET = 17, 18, 20  # 17 brings layer normalisation; torch's tracing exporter ends at 20
TOLERANCE = 3e-4  # of an output's largest number: float32 sums in another order, through at most six blocks
SILENT = 1e-9  # an output below it counts as zero
Array = NDArray[Any]


class ExportError(ChatAnyoneError):
    """A net cannot be exported, or its file does not do what the net does."""


class Parity(NamedTuple):
    """Largest difference from torch over all outputs, as a share of the largest number of each."""

    random: float
    real: float | None = None


def write(graph: Graph, path: Path, opset: int, metadata: Mapping[str, str]) -> None:
    """The file with its metadata, checked by onnx."""
    import onnx

    ports = (*graph.inputs, *graph.outputs)
    axes = {port.name: {index: axis for index, axis in enumerate(port.axes) if isinstance(axis, str)} for port in ports}
    named = {name: varying for name, varying in axes.items() if varying}
    try:
        traced(graph.module.eval(), tuple(graph.random_inputs(0)), str(path), [port.name for port in graph.inputs], opset,
               output_names=[port.name for port in graph.outputs], dynamic_axes=named)
    except (RuntimeError, ValueError, TypeError, ImportError) as error:
        raise ExportError(f"torch {torch.__version__} cannot export '{graph.name}' with opset {opset}: "
                          f"{_first_sentence(error)}") from error
    model = onnx.load(str(path))
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    model.graph.name, model.graph.doc_string = graph.name, graph.purpose
    _check_ports(graph, model)
    for port, value in zip(ports, (*model.graph.input, *model.graph.output)):
        value.doc_string = port.meaning
        for axis, dim in zip(port.axes, value.type.tensor_type.shape.dim):  # the exporter's own names say nothing
            dim.Clear()
            setattr(dim, "dim_param" if isinstance(axis, str) else "dim_value", axis)
    onnx.save(model, str(path))
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"onnx refuses the graph of '{graph.name}': {_first_sentence(error)}") from error


def traced(module: torch.nn.Module, inputs: tuple[Tensor, ...], target: str | io.BytesIO, names: list[str],
           opset: int = OPSET, **options: Any) -> None:
    """A module as it runs on `inputs`, written by torch's tracing exporter, which is in every torch and warns of its age."""
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, inputs, target, opset_version=opset, input_names=names, **options)  # type: ignore[arg-type]


def session(path: Path, threads: int = 1) -> Any:
    """The file in ONNX Runtime, on the CPU."""
    try:
        return opened(str(path), threads)
    except Exception as error:  # its exceptions have no common base of their own
        import onnxruntime

        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path.name}: "
                          f"{_first_sentence(error)}") from error


def opened(source: str | bytes, threads: int = 1) -> Any:
    """A file, by path or content, in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(net: Any, graph: Graph, inputs: list[Tensor]) -> list[Array]:
    """In ONNX Runtime."""
    named = {port.name: tensor.numpy() for port, tensor in zip(graph.inputs, inputs)}
    try:
        outputs: list[Array] = net.run([port.name for port in graph.outputs], named)
    except Exception as error:  # its exceptions have no common base of their own
        raise ExportError(f"ONNX Runtime cannot run '{graph.name}': {_first_sentence(error)}") from error
    return outputs


def difference(net: Any, graph: Graph, inputs: list[Tensor]) -> float:
    """Largest, see `Parity`; infinite where shapes differ or something is not a number."""
    worst = 0.0
    for found, wanted in zip(run(net, graph, inputs), graph(inputs)):
        expected = wanted.numpy()
        if found.shape != expected.shape or not np.isfinite(found).all():
            return float("inf")
        scale = max(SILENT, float(np.abs(expected).max(initial=0.0)))
        worst = max(worst, float(np.abs(found.astype(np.float64) - expected).max(initial=0.0)) / scale)
    return worst


def compare(graph: Graph, path: Path, real: list[list[Tensor]]) -> Parity:
    """Random numbers with both sizes of every axis that may vary, then what a voice and a picture gave.

    Raises:
        ExportError: they differ by more than `TOLERANCE`.
    """
    net = session(path)
    random = max(difference(net, graph, graph.random_inputs(which, seed)) for which in (0, 1) for seed in (0, 1))
    seen = max((difference(net, graph, inputs) for inputs in real), default=None)
    worst = max(random, seen or 0.0)
    if not worst <= TOLERANCE:
        raise ExportError(f"'{graph.name}' in ONNX Runtime differs from torch by {worst:.2g}, more than {TOLERANCE:g} of its "
                          "largest number; nothing was written, please report it with your versions of torch and onnxruntime")
    return Parity(random, seen)


def _check_ports(graph: Graph, model: Any) -> None:
    """The exporter may drop an input that nothing depends on; then the file would not be what the manifest says."""
    for kind, ports, found in (("input", graph.inputs, model.graph.input), ("output", graph.outputs, model.graph.output)):
        if [port.name for port in ports] != [value.name for value in found]:
            raise ExportError(f"the {kind}s of '{graph.name}' are {[value.name for value in found]} after the export, "
                              f"not {[port.name for port in ports]}")


def _first_sentence(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
