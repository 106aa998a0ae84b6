"""The rows of the table: variants of the training, each a configuration in `models/train/configs/ablation`."""

from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table; `config` names the variant's configuration."""

    title: str
    config: str


ROWS = (
    Row("random init, untrained", "random-init"),
    Row("ImageNet features, untrained", "imagenet-untrained"),
    Row("cross-entropy on anatomy only", "cross-entropy"),
    Row("SimCLR-style: two views of one region", "simclr"),
    Row("SupCon on anatomy, then cross-entropy (as RegionMIR)", "supcon-anatomy"),
    Row("+ within-anatomy contrast", "within-anatomy"),
    Row("+ finding and anatomy learnt anew (what ships)", "settled"),
    Row("within-anatomy contrast from crops instead of RoIAlign", "crop"),
)
BOX_ONLY = Row("box coordinates only, no pixels", "box-only")
PREVALENCE = "prevalence"
