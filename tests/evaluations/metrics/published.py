"""Figures measured with public reference code; source and commit of each part are in ``published.json``.

``published.npz`` holds the masks: ``single/<name>/{gt,pred,void}`` packed bits, ``seq/<name>/{gt,pred}`` label maps
uint8 (T,H,W), ``vip/<seed>/{gt,pred}`` label maps uint8 (images,H,W).
"""

import json
from pathlib import Path

import numpy as np

FIGURES = json.loads((Path(__file__).parent / "published.json").read_text())
MASKS = np.load(Path(__file__).parent / "published.npz")


def mask(name, side, shape):
    return np.unpackbits(MASKS[f"single/{name}/{side}"])[: np.prod(shape)].reshape(shape).astype(bool)
