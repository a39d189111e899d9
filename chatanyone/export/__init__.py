"""The nets as ONNX files that stream without this program: `chatanyone export onnx`, docs/export.md."""
