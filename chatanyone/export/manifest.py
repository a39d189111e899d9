"""What stands beside the files: manifest.json for programs, README.md for people, and the metadata inside each file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from chatanyone.export.files import TOLERANCE, Parity
from chatanyone.export.graphs import Graph, Port
from motion.audio.mel import SAMPLE_RATE
from motion.types import ARKIT_NAMES, BODY_KEYPOINTS, HAND_JOINTS

FORMAT, VERSION = "chatanyone.onnx", 1
LICENCE = "Apache-2.0"
UNITS = ("sound: mono, 16000 Hz, [-1, 1]; expression: ARKit weights 0 to 1; rotations: axis-angle, rad; head translation: m; "
         "body and wrists: shoulder widths; pictures: RGB 0 to 1; flow: px of the picture, (x, y)")


def project_version() -> str:
    try:
        return version("chatanyone")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def describe(graph: Graph) -> dict[str, Any]:
    """A graph as the manifest has it."""
    return {"name": graph.name, "file": graph.file, "part": graph.part, "purpose": graph.purpose,
            "inputs": [_port(port) for port in graph.inputs], "outputs": [_port(port) for port in graph.outputs],
            "constants": dict(graph.constants)}


def metadata(graph: Graph, weights: Mapping[str, Mapping[str, Any]], fps: Sequence[int]) -> dict[str, str]:
    """What a file says about itself, as strings; weights: kind → sha256 and config."""
    used = {kind: weights[kind] for kind in graph.kinds}
    return {
        "project": "chatanyone", "version": project_version(), "licence": LICENCE, "part": graph.part, "units": UNITS,
        "sample_rate_hz": str(SAMPLE_RATE), "fps": "/".join(map(str, fps)),
        "weights_sha256": json.dumps({kind: entry["sha256"] for kind, entry in used.items()}, sort_keys=True),
        "config": json.dumps({kind: entry["config"] for kind, entry in used.items()}, sort_keys=True),
        "constants": json.dumps(dict(graph.constants))}


def manifest(graphs: Sequence[Graph], weights: Mapping[str, Mapping[str, Any]], fps: Sequence[int], size: str,
             opset: int, parity: Mapping[str, Parity]) -> dict[str, Any]:
    """Everything about the folder; arrays in row-major order, names of axes where a size may vary."""
    entries = [describe(graph) | {"largest_difference": parity[graph.name]._asdict()} for graph in graphs]
    kinds = sorted({kind for graph in graphs for kind in graph.kinds})
    return {
        "format": FORMAT, "version": VERSION, "project": {"name": "chatanyone", "version": project_version()},
        "licence": LICENCE, "opset": opset, "sample_rate_hz": SAMPLE_RATE, "fps": list(fps), "size": size, "units": UNITS,
        "tolerance": TOLERANCE, "weights": {kind: weights[kind] for kind in kinds}, "graphs": entries,
        "names": {"expression": list(ARKIT_NAMES), "body": list(BODY_KEYPOINTS), "hands": list(HAND_JOINTS)}}


def readme(content: Mapping[str, Any]) -> str:
    """The manifest for people."""
    here = {graph["name"] for graph in content["graphs"]}
    lines = ["# chatanyone as ONNX", "",
             f"Written by chatanyone {content['project']['version']}, opset {content['opset']}, {content['licence']}. Each "
             f"file was compared with PyTorch in ONNX Runtime: the largest difference is below {content['tolerance']:g} of an "
             "output's largest number. All other numbers a program needs are in `manifest.json`.", "",
             f"Units: {content['units']}.", "", "## Order of calls", ""]
    lines += [f"{number}. {text}" for number, (_, text) in
              enumerate((step for step in _ORDER if step[0] in here), start=1)]
    lines += ["", "The output `next_x` is the input `x` of the next call of the same stream; `start` fills it at first.",
              ""]
    if {"audio", "face_step", "body"} <= here:
        lines += ["`run_onnx.py` is all of this in numpy: `python run_onnx.py hello.wav motion.npz`.", ""]
    for graph in content["graphs"]:
        lines += [f"## {graph['file']}", "", f"{graph['purpose'].capitalize()}.", "", "| | name | shape | type | |",
                  "|---|---|---|---|---|"]
        lines += [_row(way, port) for way in ("inputs", "outputs") for port in graph[way]] + [""]
    return "\n".join(lines)


_ORDER = (
    ("mel", "`mel`: put `lead_samples` zeros before the sound; each `block_samples`, moving on by `advance_samples`."),
    ("audio", "`audio`: each block of mel. Drop its first `skip_rows` rows; row k then stands for sample `row_samples` * k. A "
              "frame's features lie at its centre, linearly between two rows."),
    ("face_reference", "`face_reference`: once, if there is a clip whose manner to take over."),
    ("face_window", "`face_window`: when the features of the next `hop` + `look_ahead` frames are there."),
    ("face_step", "`face_step`: for each of `timesteps`, from standard normal noise; between them DDIM with `alpha_bar`. "
                  "Then, as in `run_onnx.py`: fade from the last window, hold the mean, smooth slow channels, multiply by "
                  "`motion_std` and add `motion_mean`, clip expressions to 0 to 1, even the brows."),
    ("body", "`body`: each `hop` frames of the face, when the features reach `audio_future` frames further."),
    ("appearance", "`appearance`: once a picture."),
    ("dense_motion", "`dense_motion`: corrects the smooth field; geometry (not exported) draws the frame with it."),
    ("filter", "`filter`: on the frame that geometry drew."),
    ("generator", "`generator`: its change is added to the frame, in the inner mouth times `mouth`."),
    ("face_refine", "`face_refine`: its change is added to the face window, in the inner mouth times `mouth`."))


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "shape": list(port.axes), "dtype": port.dtype, "meaning": port.meaning, "start": port.start}


def _row(way: str, port: Mapping[str, Any]) -> str:
    start = "" if port["start"] is None else f"; start {port['start']:g}"
    shape = " × ".join(map(str, port["shape"]))
    return f"| {way[:-1]} | `{port['name']}` | {shape} | {port['dtype']} | {port['meaning']}{start} |"
