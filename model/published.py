"""What published weights are for, written beside them: a diffusion-forcing and a text-to-video model of 14B share one config.

    python -m model.published FOLDER --kind diffusion_forcing

writes FOLDER/manifest.json with the kind and the SHA-256 of every weight file, in the form of this project's own checkpoints. FOLDER
holds `transformer/` as diffusers' repositories do. A model of the wrong kind loads without complaint and fails after some seconds of
film, so generation refuses a folder that does not say what it is.
"""

import argparse
import json
import re
from pathlib import Path

from model.checkpoint import MANIFEST, write_manifest

KINDS = ("full_sequence", "diffusion_forcing")
_NAMED = {"DF": "diffusion_forcing", "T2V": "full_sequence", "I2V": "full_sequence"}


def read_kind(folder: str | Path) -> str:
    """The kind that a checkpoint's manifest states. Raises ValueError naming the remedy if there is none."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} has no {MANIFEST}, and its config cannot tell what it is for: python -m model.published {folder} "
                         f"--kind {'|'.join(KINDS)}")  # fmt: skip
    kind = json.loads(path.read_text(encoding="utf-8")).get("model_kind")
    if kind not in KINDS:
        raise ValueError(f"{path} states model_kind {kind!r}; known: {', '.join(KINDS)}")
    return kind


def label(folder: str | Path, kind: str) -> None:
    """Write the manifest of a published folder.

    Raises ValueError where the folder's name, as upstream names its repositories (SkyReels-V2-DF-14B-540P), says another kind,
    and where a manifest is there already.
    """
    folder = Path(folder).absolute()
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; known: {', '.join(KINDS)}")
    if (folder / MANIFEST).exists():
        raise ValueError(f"{folder / MANIFEST} is there already and states {read_kind(folder)}")
    named = re.search(r"SkyReels-V2-(DF|T2V|I2V)-", folder.as_posix())
    if named and _NAMED[named[1]] != kind:
        raise ValueError(f"{folder} is named as a {_NAMED[named[1]]} model, not {kind}")
    files = [path for path in sorted((folder / "transformer").glob("*")) if path.suffix in (".json", ".safetensors")]
    if not any(path.name == "config.json" for path in files):
        raise ValueError(f"{folder}/transformer has no config.json; give the folder that holds `transformer`")
    write_manifest(folder, files, {"model_kind": kind})


def main(arguments: list[str] | None = None) -> None:
    """Label one folder."""
    parser = argparse.ArgumentParser(description="State what published weights are for.")
    parser.add_argument("folder", help="folder that holds `transformer`")
    parser.add_argument("--kind", required=True, choices=KINDS)
    options = parser.parse_args(arguments)
    label(options.folder, options.kind)


if __name__ == "__main__":
    main()
