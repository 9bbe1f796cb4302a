"""The ledger's tables: one row per source, shot, score, caption, verdict, sample and training batch.

A table is a Lance data set under `<home>/ledger/<name>.lance`. `key` names the columns that identify a row; `partition` names
the column whose value is replaced as a whole when a batch or stage is made again (none: rows are only added or merged by key).
Every row carries `provenance`: the hash of its parents' provenance and of the code version and settings that made it.
"""

from dataclasses import dataclass

import pyarrow as pa

_TEXT, _INT, _REAL, _FLAG, _BYTES = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary()


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One table of the ledger."""

    name: str
    """File and SQL name."""
    grain: str
    """What one row is."""
    key: tuple[str, ...]
    """Columns that identify a row."""
    partition: str | None
    """Column whose rows are replaced together when one batch, stage or run is made again."""
    schema: pa.Schema
    """Column names and types."""

    @property
    def is_inherited(self) -> bool:
        """Whether the key begins with the id of a source or shot, so that two partitions cannot bring the same one: a source belongs to the
        first batch that brought it, and whatever is made from it goes to that batch. Then nobody has to look among all other rows."""
        return self.partition == "batch" and "batch" not in self.key and self.name != "sources"


def _table(name: str, grain: str, key: str, partition: str | None, /, **columns: pa.DataType) -> TableSpec:
    fields = [pa.field(column, kind) for column, kind in columns.items()]
    fields.append(pa.field("provenance", _TEXT))
    return TableSpec(name=name, grain=grain, key=tuple(key.split()), partition=partition, schema=pa.schema(fields))


TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        _table(
            "files", "one file that somebody handed in, in one ingest batch", "batch uri", "batch",
            batch=_TEXT, uri=_TEXT, size_bytes=_INT, modified=_TEXT,  # mtime (ISO, UTC) or the object's etag
            source_id=_TEXT,  # null until hashed
            status=_TEXT,     # listed | ready | duplicate | refused
            reason=_TEXT,     # why it was refused, or which source it repeats
        ),
        _table(
            "sources", "one content (by SHA-256), owned by the first batch that brought it", "source_id", "batch",
            source_id=_TEXT, batch=_TEXT, uri=_TEXT, name=_TEXT, size_bytes=_INT,
            media=_TEXT,      # video | image | none
            status=_TEXT,     # ready | refused
            reason=_TEXT,     # empty for ready
            container=_TEXT, codec=_TEXT, pixel_format=_TEXT, width=_INT, height=_INT,  # displayed size, after rotation
            rotation=_INT,    # degrees clockwise that a player applies: 0, 90, 180, 270
            fps_num=_INT, fps_den=_INT, is_vfr=_FLAG, num_frames=_INT, duration_s=_REAL, bitrate=_INT, has_audio=_FLAG,
            licence=_TEXT, source_kind=_TEXT,  # open_set | film | tv | art | unknown
            human_caption=_TEXT,  # JSON object of the sidecar's fields, '{}' without a sidecar
        ),
        _table(
            "shots", "one shot of one source", "shot_id", "batch",
            shot_id=_TEXT, source_id=_TEXT, batch=_TEXT, start_frame=_INT, end_frame=_INT,  # end exclusive
            start_s=_REAL, end_s=_REAL, fps_num=_INT, fps_den=_INT,
            transition_in=_TEXT,  # start | cut | dissolve | fade | wipe | split
            votes=_TEXT,          # JSON: detector -> its confidence for this shot's first boundary
        ),
        _table(
            "scores", "one signal of one shot", "shot_id signal", "batch",
            shot_id=_TEXT, batch=_TEXT, signal=_TEXT, value=_REAL, unit=_TEXT, version=_TEXT,
            outcome=_TEXT,    # measured | unknown | not_applicable
            reason=_TEXT,
        ),
        _table(
            "crops", "the clean rectangle of one shot", "shot_id", "batch",
            shot_id=_TEXT, batch=_TEXT, x=_INT, y=_INT, width=_INT, height=_INT,  # displayed pixels of the source
            area_share=_REAL,  # of the whole picture
            status=_TEXT,      # whole | cropped | refused (no large enough rectangle is clean: the picture stays whole)
            reason=_TEXT,      # what was avoided, or why not
            regions=_TEXT,     # JSON: [{"kind", "x0", "y0", "x1", "y1"}], shares of the frame
        ),
        _table(
            "frames", "one kept picture of one shot", "shot_id position", "batch",
            shot_id=_TEXT, batch=_TEXT, position=_INT, frame=_INT, time_s=_REAL,  # frame: index in the source
            image=_BYTES,      # JPEG, at most 256 px on the short side
        ),
        _table(
            "work", "what one step spent on one source, over all its runs", "source_id step", "batch",
            source_id=_TEXT, step=_TEXT, batch=_TEXT, num_decodes=_INT,
            num_frames=_INT, wall_s=_REAL, core_s=_REAL,  # of the last run
        ),
        _table(
            "matches", "a shot that repeats an earlier shot", "shot_id other_id", "batch",
            shot_id=_TEXT, other_id=_TEXT, batch=_TEXT, similarity=_REAL,
            start_s=_REAL, other_start_s=_REAL, duration_s=_REAL,  # the part that both show, from each shot's own start
            speed=_REAL,       # seconds of the other shot per second of this one
        ),
        _table(
            "duplicates", "a shot that belongs to a group of more than one", "shot_id", None,
            shot_id=_TEXT, group_id=_TEXT, kept_id=_TEXT, similarity=_REAL,  # to the shot that is kept; 1 for that one
        ),
        _table(
            "pool_versions", "one committed set of thresholds", "pool_version", None,
            pool_version=_TEXT, stage=_TEXT, bounds=_TEXT, recipe_hash=_TEXT, note=_TEXT, num_pass=_INT, gained=_INT, lost=_INT,
            diff=_TEXT,        # JSON: reason kind -> shots gained and lost
        ),
        _table(
            "captions", "the caption of one shot", "shot_id", "batch",
            shot_id=_TEXT, batch=_TEXT, structured=_TEXT,  # JSON, SkyCaptioner's schema
            field_provenance=_TEXT,  # JSON: field -> who said it (captioning.origin)
            t2v=_TEXT, i2v=_TEXT,  # dense and sparse text
            t2v_train=_TEXT,   # the dense text with some fields left out: what a data set holds
            status=_TEXT,      # ok | empty | truncated | repeated | refused | invalid | error
            reason=_TEXT, captioner=_TEXT,
        ),
        _table(
            "imported_captions", "the caption of one shot that another program made", "shot_id", "batch",
            shot_id=_TEXT, batch=_TEXT, structured=_TEXT, t2v=_TEXT, i2v=_TEXT, model=_TEXT,
        ),
        _table(
            "answers", "what a language model said to one request", "request_hash", "batch",
            request_hash=_TEXT, batch=_TEXT,
            key=_TEXT,         # what it is about: a shot id, or a shot id and a text's column
            model=_TEXT, status=_TEXT,  # success | truncated | repeated | refused | error
            reason=_TEXT, text=_TEXT, num_asked=_INT, prompt_tokens=_INT, completion_tokens=_INT, latency_s=_REAL,
        ),
        _table(
            "labels", "what one labeller says about one field of one shot", "shot_id field labeller", None,
            shot_id=_TEXT, batch=_TEXT,
            field=_TEXT,       # shot_type | shot_angle | shot_position | emotion | camera_motion
            value=_TEXT,
            grade=_TEXT,       # fine: a person looked at the shot | coarse: brought in number from elsewhere
            labeller=_TEXT,
        ),
        _table(
            "label_queue", "one shot that people should label, in one round of active learning", "round shot_id", None,
            round=_INT, position=_INT, shot_id=_TEXT, batch=_TEXT,
            field=_TEXT,       # whose head was unsure; '' in a round before there were heads
            guess=_TEXT, confidence=_REAL,  # what that head said
        ),
        _table(
            "failures", "one source that one step could not process", "scope source_id", "scope",
            scope=_TEXT,      # '<batch>/<step>'
            source_id=_TEXT, batch=_TEXT, step=_TEXT, reason=_TEXT,
        ),
        _table(
            "gates", "the standing of one gate for one batch", "batch gate", "batch",
            batch=_TEXT, gate=_TEXT, passed=_FLAG, reason=_TEXT,
        ),
        _table(
            "verdicts", "one shot under one stage's thresholds", "stage shot_id", "stage",
            stage=_TEXT, shot_id=_TEXT, verdict=_TEXT,  # pass | fail | review
            reasons=pa.list_(_TEXT),
        ),
        _table(
            "snapshots", "one frozen data set", "snapshot_id", None,
            snapshot_id=_TEXT, dataset=_TEXT, num_clips=_INT, duration_s=_REAL, excluded=_TEXT,  # JSON: batch -> gate
        ),
        _table(
            "snapshot_clips", "one clip of one frozen data set", "snapshot_id clip_id", "snapshot_id",
            snapshot_id=_TEXT, clip_id=_TEXT, shot_id=_TEXT, source_id=_TEXT, uri=_TEXT, start_frame=_INT, end_frame=_INT,
            crop=pa.list_(_INT),  # x, y, width, height in displayed pixels
            fps_num=_INT, fps_den=_INT, train_fps=_INT, num_frames=_INT, width=_INT, height=_INT,  # what the model sees
            caption=_TEXT,
        ),
        _table(
            "latents", "one encoded clip", "latents_id clip_id", "latents_id",
            latents_id=_TEXT, snapshot_id=_TEXT, clip_id=_TEXT, shot_id=_TEXT, shard=_TEXT,
        ),
        _table(
            "checkpoints", "one published checkpoint", "checkpoint_id", None,
            checkpoint_id=_TEXT, stage=_TEXT, parent_id=_TEXT, snapshot_id=_TEXT, latents_id=_TEXT, recipe_hash=_TEXT,
            seed=_INT, code_version=_TEXT, seen_hash=_TEXT, weights_hash=_TEXT, num_steps=_INT, final_loss=_REAL,
            model_kind=_TEXT,  # full_sequence | diffusion_forcing
            path=_TEXT,        # key in the store
            run_id=_TEXT,
        ),
        _table(
            "seen", "one clip in one optimizer step", "checkpoint_id step position", "checkpoint_id",
            checkpoint_id=_TEXT, step=_INT, position=_INT, clip_id=_TEXT, shot_id=_TEXT,
        ),
        _table(
            "current", "what one unpartitioned asset stands at now", "name", None,
            name=_TEXT,  # asset: dataset_256p, latents_256p, pretrain_256p, ...
            ref=_TEXT,   # its snapshot, latents, checkpoint or film id
        ),
        _table(
            "films", "one generated film", "film_id", None,
            film_id=_TEXT, checkpoint_id=_TEXT, prompt=_TEXT, seed=_INT, schedule=_TEXT, num_frames=_INT, fps=_INT,
            width=_INT, height=_INT, num_windows=_INT, path=_TEXT, manifest=_TEXT,
        ),
    )
}
