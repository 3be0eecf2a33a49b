"""All that runs on a robot: policy contract, runtime, controller, safety monitor. Needs numpy, pyyaml and onnxruntime."""
