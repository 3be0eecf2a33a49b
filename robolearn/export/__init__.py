"""From a trained policy to one ONNX file with its contract inside, compared with torch before it is written."""
