"""Published weights as a stage's start: a Hugging Face id or a folder, found, checked and identified before anything trains on them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import file_hash, write_json
from skyreels_platform.errors import RecipeError
from skyreels_platform.home import Home
from skyreels_platform.ledger.provenance import hash_json
from skyreels_platform.recipe import Recipe

_WANTED = ["transformer/*", "config.json", "model*.safetensors", "diffusion_pytorch_model*"]
_HASHES = "weights_hashes.json"


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A transformer in diffusers' or the original layout on this machine."""

    folder: Path
    """config.json and safetensors files."""
    identity: str
    """Hash of the files' contents: the same weights are the same parent, wherever they lie."""


def published_weights(home: Home, recipe: Recipe, stage: str) -> PublishedWeights:
    """The weights that `stages.<stage>.init_from` names. RecipeError if they cannot be had or are another model than the recipe's."""
    reference = recipe.stages[stage].init_from
    assert reference is not None
    key = f"stages.{stage}.init_from = {reference!r}"
    root = Path(reference).expanduser()
    if not root.is_dir():
        root = _download(reference, key)
    folder = root / "transformer" if (root / "transformer" / "config.json").is_file() else root
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise RecipeError(f"{key}: {folder} holds no config.json with safetensors files; name a folder in diffusers' or upstream's layout")
    _check_config(folder, recipe, key)
    return PublishedWeights(folder=folder.absolute(), identity=_identity(home, folder))


def _download(reference: str, key: str) -> Path:
    """The hub's snapshot, from its cache if it is there."""
    if reference.count("/") != 1 or reference.startswith((".", "/", "~")):
        raise RecipeError(f"{key}: no such folder, and no Hugging Face id (OWNER/NAME) either")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(reference, allow_patterns=_WANTED))
    except (OSError, ValueError) as error:  # the hub's errors are both; a missing repository, no network, no cache
        cause = str(error).strip().splitlines()[0]
        raise RecipeError(f"{key}: not in the Hugging Face cache and the hub does not give it ({cause}); where there is a network, run "
                          f"`hf download {reference} --local-dir FOLDER`, copy FOLDER here and write its path") from error  # fmt: skip


def _check_config(folder: Path, recipe: Recipe, key: str) -> None:
    """The recipe's model, but for an FPS embedding that a later stage drops (model.growth)."""
    from model.configs import TransformerConfig
    from model.layouts import from_original_config, is_original

    values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        theirs = asdict(from_original_config(values) if is_original(values) else TransformerConfig.from_dict(values))
    except (ValueError, KeyError) as error:
        raise RecipeError(f"{key}: {folder}/config.json describes no SkyReels-V2 transformer: {error}") from error
    ours = recipe.model.model_dump()
    if wrong := {name: value for name, value in theirs.items() if name in ours and name != "inject_sample_info" and ours[name] != value}:
        remedy = "; ".join(f"{name} = {json.dumps(value)}" for name, value in wrong.items())
        raise RecipeError(f"{key} is another model than the recipe's: write under [model] {remedy}")


def _identity(home: Home, folder: Path) -> str:
    """Hash of all files; remembered by size and time, because reading 57 GB takes minutes."""
    cache = home.work / _HASHES
    known: dict[str, str] = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    digests = {}
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        stat = path.stat()
        place = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        known[place] = known.get(place) or file_hash(path)
        digests[path.name] = known[place]
    home.work.mkdir(parents=True, exist_ok=True)
    write_json(cache, known)
    return f"w_{hash_json(digests)[:16]}"
