"""Makes the modules beside the contracts and the transcripts importable by name; tests are no package."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "transcripts"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))
