"""Which data sets there are, and the pool that each is frozen from: what the asset graph and `snapshot` both need to know."""

POOL_OF = {"256p": "256p", "360p": "360p", "540p": "540p", "sft_540p": "sft_540p", "sft_720p": "sft_540p"}
"""Data set -> pool. The last fine-tuning stage is meant for footage that people have looked through (paper); there are no such
verdicts yet, so it shares the pool of the first one."""
