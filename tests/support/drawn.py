"""Small drawn films in the format of the reader of folders, and a configuration that trains on them in seconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from models.network import NetworkConfig
from models.train.config import TrainConfig

FINDINGS = ("normal", "viral pneumonia", "")
TINY = NetworkConfig(side=64, width=16, dim=24, anatomy_dim=8, finding_dim=8)
SMALL = TrainConfig(
    name="small",
    description="",
    minutes=5,
    steps=2,
    threads=1,
    device="cpu",
    imagenet=False,
    bf16=False,
    films_per_step=3,
    negatives_per_step=1,
    validate_minutes=0,
    network=TINY,
)


def drawn_folder(root: Path, train: int = 5, val: int = 1, sources: Sequence[str] = ("drawn",)) -> Path:
    """Write films of noise with two lungs, each of a patient of its own and every second with a mask; return `root`.

    They are of the `sources` in turn.
    """
    images = ["image,width,height,source,patient,finding,age_group,split"]
    regions = ["image,anatomy,x0,y0,x1,y1,origin"]
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for i in range(train + val):
        pixels, labels = (rng.random((60, 80)) * 255).astype(np.uint8), np.zeros((60, 80), dtype=np.uint8)
        labels[10:50, 5:38], labels[10:50, 40:75] = 1, 2
        Image.fromarray(pixels).save(root / "images" / f"{i}.png")
        if i % 2:
            Image.fromarray(labels).save(root / "masks" / f"{i}.png")
        age, split = ("adult" if i % 2 else "child"), ("train" if i < train else "val")
        images.append(f"images/{i}.png,80,60,{sources[i % len(sources)]},p{i},{FINDINGS[i % 3]},{age},{split}")
        for name, box in (("left lung", "40,10,75,50"), ("right lung", "5,10,38,50")):
            regions.append(f"images/{i}.png,{name},{box},mask")
    (root / "images.csv").write_text("\n".join(images) + "\n")
    (root / "regions.csv").write_text("\n".join(regions) + "\n")
    return root
