"""LiDAR detectors as ONNX files, from points to boxes, checked against torch."""
