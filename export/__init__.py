"""Trained models for other runtimes: ONNX, TensorRT and TensorRT for RTX, each checked against the original.

python -m export.to_onnx model.safetensors
python -m export.to_trt model.safetensors --runtime tensorrt-rtx
"""
