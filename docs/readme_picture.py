"""The README's picture: signals and spectra by task, real beside synthetic, of a demo folder.

    python docs/readme_picture.py DEMO [docs/images/figure1.png]

DEMO is what `myosynth demo` made: simulated recordings, so that no real person is shown.
"""

import argparse
from pathlib import Path

from myosynth.app.figures import readme_picture, save_figure
from myosynth.formats import read_segments
from myosynth.recordings import SegmentSet


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs/images/figure1.png"))
    args = parser.parse_args()
    real = SegmentSet.open(args.demo / "segments")
    synthetic = read_segments(args.demo / "synthetic.npz")
    save_figure(readme_picture(real, synthetic), args.out)
    print(f"{args.out} shows {', '.join(real.tasks)}")


if __name__ == "__main__":
    main()
