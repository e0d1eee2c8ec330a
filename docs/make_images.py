"""Makes the README's picture: python docs/make_images.py [INDEX of a val clip]."""

import sys
from pathlib import Path

from PIL import Image

from thinkseg.chains.veason import veason
from thinkseg.data.shapes import load
from thinkseg.models import load_policy, load_tracker
from thinkseg.pipeline import segment_sample
from thinkseg.report import film_strip

CLIP = 20
"""A val clip in which cause and effect are plain to see."""

PICTURE = Path(__file__).parent / "images" / "filmstrip.png"


def main(index: int) -> None:
    policy = load_policy("shapes")
    result = segment_sample(load("val", index), veason, policy, load_tracker("flow"))
    PICTURE.parent.mkdir(exist_ok=True)
    Image.fromarray(film_strip(result, policy.view, captions=True, width=1200)).save(PICTURE, optimize=True)
    print(f"{result.sample.query}: {PICTURE}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CLIP)
