"""`chatanyone export onnx` as a user would call it: what is written, what is refused, and that nothing is left half done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from chatanyone import bench, build, checkpoints, cli
from chatanyone.config import Config, load_config
from chatanyone.errors import ChatAnyoneError
from chatanyone.export import export, files, timing
from chatanyone.export.manifest import project_version
from tests.chatanyone.export.helpers import DEBUG, doubled

MOTION_FILES = {"mel.onnx", "audio.onnx", "face_reference.onnx", "face_window.onnx", "face_step.onnx", "body.onnx"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "onnx"
    assert cli.main(["export", "onnx", "--output", str(path), "--config", str(DEBUG)]) == 0
    return path


def _refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    code = cli.main(["export", "onnx", *options])
    error = capsys.readouterr().err
    assert code == cli.USER_MISTAKE
    assert error.startswith("chatanyone: error: ") and error.count("\n") == 1
    return error


def test_one_file_a_net_and_what_explains_them(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == MOTION_FILES | {"manifest.json", "README.md", "run_onnx.py"}
    assert [path.name for path in folder.parent.iterdir()] == ["onnx"]  # no temporary folder stays


def test_the_manifest_says_what_each_file_takes_and_gives(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    assert {graph["file"] for graph in content["graphs"]} == MOTION_FILES
    text = (folder / "README.md").read_text()
    for graph in content["graphs"]:
        model = onnx.load(str(folder / graph["file"]))
        for ports, values in ((graph["inputs"], model.graph.input), (graph["outputs"], model.graph.output)):
            shapes = [[axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values]
            assert [port["name"] for port in ports] == [value.name for value in values]
            assert [port["shape"] for port in ports] == shapes
            assert all(value.doc_string == port["meaning"] for port, value in zip(ports, values))
        assert f"## {graph['file']}" in text
        assert 0 <= graph["largest_difference"]["random"] <= content["tolerance"]
        assert 0 <= graph["largest_difference"]["real"] <= content["tolerance"]


def test_a_file_knows_where_it_comes_from(folder: Path) -> None:
    engine = export.load(load_config(str(DEBUG)))
    notes = {entry.key: entry.value for entry in onnx.load(str(folder / "face_window.onnx")).metadata_props}
    assert json.loads(notes["weights_sha256"]) == {
        "face": checkpoints.tensors_sha256(engine.face.denoiser.state_dict()),
        "audio_encoder": checkpoints.tensors_sha256(engine.speech.encoder.state_dict())}
    assert (notes["licence"], notes["version"], notes["sample_rate_hz"]) == ("Apache-2.0", project_version(), "16000")
    assert json.loads(notes["config"])["face"]["width"] == build.TINY["face"]["width"]
    assert "rad" in notes["units"]


def test_state_comes_back_under_its_name(folder: Path) -> None:
    for graph in json.loads((folder / "manifest.json").read_text())["graphs"]:
        state = {port["name"]: port["shape"] for port in graph["inputs"] if f"next_{port['name']}" in
                 {other["name"] for other in graph["outputs"]}}
        assert state == {port["name"][5:]: port["shape"] for port in graph["outputs"] if port["name"].startswith("next_")}
        assert all(port["start"] is not None for port in graph["inputs"] if port["name"] in state)


def test_only_some_parts_and_what_an_earlier_export_left_goes(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "onnx"
    config = load_config(str(DEBUG))
    export.export_onnx(output, config, ("audio", "body"))
    (output / "mine.txt").write_text("kept")
    export.export_onnx(output, config, ("body",), 17, force=True)
    assert {path.name for path in output.iterdir()} == {"body.onnx", "manifest.json", "README.md", "mine.txt"}
    assert onnx.load(str(output / "body.onnx")).opset_import[0].version == 17


def test_a_mismatch_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(files, "run", doubled(files.run, "body"))
    error = _refused(capsys, "--output", str(tmp_path / "onnx"), "--only", "body", "--config", str(DEBUG))
    assert "'body' in ONNX Runtime differs from torch by 1, more than 0.0003" in error
    assert not list(tmp_path.iterdir())


def test_a_graph_that_is_not_the_net_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch and ONNX Runtime agree on it, but the engine moves otherwise."""
    whole = export.engine_motion
    monkeypatch.setattr(export, "engine_motion", lambda *given: tuple(part + 0.01 for part in whole(*given)))
    with pytest.raises(files.ExportError, match="graphs in torch differ from the engine's motion by 0.01"):
        export.export_onnx(tmp_path / "onnx", load_config(str(DEBUG)), ("audio",))
    assert not list(tmp_path.iterdir())


def test_an_output_of_tiny_numbers_is_compared_with_itself() -> None:
    """A net that says nearly nothing could be replaced by zeros unseen."""
    graph = export.load(load_config(str(DEBUG))).graphs((512, 768))[0]

    class Zeros:
        def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
            return [0 * graph(graph.random_inputs(0))[0].numpy()]

    assert files.difference(Zeros(), graph, graph.random_inputs(0)) == 1.0


@pytest.mark.parametrize("options, sentence", [
    (["--opset", "9"], "--opset must be 17 to 20, not 9"),
    (["--only", "audio,hat"], "--only takes audio, face, body, render, not 'hat'"),
    (["--only", "render"], "the rendering nets of these weights have learned nothing yet"),
])
def test_requests_that_cannot_be_met(tmp_path: Path, options: list[str], sentence: str,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence in _refused(capsys, "--output", str(tmp_path / "onnx"), "--config", str(DEBUG), *options)
    assert not list(tmp_path.iterdir())


def test_settings_that_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flame = load_config(None, {"template.head": "flame", "template.flame_model": "f.npz"})
    with pytest.raises(ChatAnyoneError, match="template.head is flame, whose numbers are licensed to you alone"):
        export.export_onnx(tmp_path / "onnx", flame)
    with pytest.raises(ChatAnyoneError, match="audio.backend is whisper, but only the compact encoder"):
        export.export_onnx(tmp_path / "onnx", load_config(None, {"audio.backend": "whisper"}))
    for changes in ({"motion.backend": "live_speech_portraits"}, {"audio.manifold": 0.5},
                    {"motion.backend": "loopy", "motion.loopy_weights": "loopy.safetensors"}):
        with pytest.raises(ChatAnyoneError, match="only the diffusion backend without the manifold can be exported"):
            export.export_onnx(tmp_path / "onnx", load_config(None, changes))
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ChatAnyoneError, match="the export needs onnx and onnxruntime; pip install onnx onnxruntime"):
        export.export_onnx(tmp_path / "onnx", Config())


def test_a_folder_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is not empty; choose another folder or give --force" in _refused(capsys, "--output", str(tmp_path))
    assert "must be a folder" in _refused(capsys, "--output", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


def test_bench_times_what_was_exported(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(timing, "ROUND_S", 1e-3)
    rows = timing.onnx_rows(folder, load_config(str(DEBUG)))
    assert {f"{row.net}.onnx" for row in rows} == MOTION_FILES
    assert all(row.torch_ms > 0 and row.onnx_ms > 0 for row in rows)
    assert "face_step" in timing.onnx_table(rows)
    with pytest.raises(ChatAnyoneError, match="was exported from other weights of kind audio_encoder"):
        timing.onnx_rows(folder, Config())
    assert cli.main(["bench", "--onnx", str(tmp_path)]) == cli.USER_MISTAKE
    assert "holds no export" in capsys.readouterr().err


def test_bench_reports_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                          capsys: pytest.CaptureFixture[str]) -> None:
    report = bench.Report("m", 1, 1, "t", "cpu", "fp32", "512x768", 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, [])
    monkeypatch.setattr(bench, "measure", lambda *given, **named: report)
    monkeypatch.setattr(bench, "_portrait", lambda config, image: None)
    monkeypatch.setattr(bench, "onnx_rows", lambda path, config: [timing.OnnxRow("body", 2.0, 1.0)])
    assert cli.main(["bench", "--onnx", str(folder), "--json", str(tmp_path / "b.json"), "--config", str(DEBUG)]) == 0
    assert "body                  2.00      1.00          2.00" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.json").read_text())["onnx"] == [{"net": "body", "torch_ms": 2.0, "onnx_ms": 1.0}]


def test_nothing_that_few_runtimes_know(folder: Path) -> None:
    """No double precision, no branches or loops; every input has at least one number in it."""
    for path in folder.glob("*.onnx"):
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
        assert not {node.op_type for node in model.graph.node} & {"If", "Loop", "Scan", "SequenceAt"}
        values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
        kinds = {value.type.tensor_type.elem_type for value in values} | {item.data_type for item in model.graph.initializer}
        assert onnx.TensorProto.DOUBLE not in kinds
        assert {node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"} <= {
            onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL}


def test_batches_and_references_of_any_size(folder: Path) -> None:
    graphs = {graph.name: graph for graph in export.load(load_config(str(DEBUG))).graphs((512, 768))}
    graph = graphs["face_step"]
    net = files.session(folder / graph.file)
    generator = torch.Generator().manual_seed(3)
    inputs = [port.random({"batch": 5, "reference": 17}, generator) for port in graph.inputs]
    assert files.difference(net, graph, inputs) < 1e-5
    assert np.shape(files.run(net, graph, inputs)[0])[0] == 5
