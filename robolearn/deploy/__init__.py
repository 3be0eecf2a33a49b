"""All that runs on a robot: policy contract, runtime, controller, monitor. Needs numpy, pyyaml and onnxruntime."""
