"""`python -m models.ablate --data DIR --seeds 1 2 3 --steps N --out DIR`: the table of the training's parts."""

import sys

from models.ablate.command import carry_out, parser
from models.ablate.run import ablate


def main() -> int:
    """Run the ablation that the command line asks for; return the exit code."""
    options = parser("models.ablate", __doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = options.parse_args()
    return carry_out(asked.threads, lambda note: ablate(asked.data, asked.out, asked.seeds, note, steps=asked.steps))


if __name__ == "__main__":
    sys.exit(main())
