"""Makes official.safetensors with the format's own library (pip install safetensors numpy): what our reader is held against."""
import numpy as np
from safetensors.numpy import save_file

save_file(
    {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 4,
        "half": np.array([1.5, -2.0, 65504.0, 6e-8], dtype=np.float16),
        "ids": np.array([-1, 1 << 40], dtype=np.int64),
        "bytes": np.array([0, 255, 7], dtype=np.uint8),
        "double": np.array([0.1], dtype=np.float64),
        "scalar": np.array(3, dtype=np.int32),
        "empty": np.zeros((0, 4), dtype=np.float32),
    },
    "official.safetensors",
    metadata={"format": "np", "note": "ünïcode"},
)
