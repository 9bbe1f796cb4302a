"""Codecs: geometry, fidelity on rendered pictures, and the Wan VAE at a tiny size through the same protocol."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.codec import DctCodec, WanCodec, build_codec, to_frames, to_pixels


def moving_square(frames: int = 17, side: int = 32) -> np.ndarray:
    film = np.full((frames, side, side, 3), (110, 120, 115), np.uint8)
    for index in range(frames):
        film[index, 8:22, index // 2 + 3 : index // 2 + 17] = (210, 50, 40)
    return film


def test_dct_latents_have_the_papers_geometry_and_about_unit_variance():
    latents = DctCodec(16).encode(to_pixels(moving_square()))
    assert latents.shape == (1, 16, 5, 4, 4)
    assert 0.3 < latents.std() < 3


def test_dct_round_trip_keeps_the_picture():
    film = moving_square()
    codec = DctCodec(16)
    again = to_frames(codec.decode(codec.encode(to_pixels(film))))
    error = ((film.astype(float) - again) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 24
    assert again.shape == film.shape


def test_more_channels_are_closer():
    film, errors = moving_square(), []
    for channels in (4, 10, 16, 25):
        codec = DctCodec(channels)
        errors.append(float((codec.decode(codec.encode(to_pixels(film))) - to_pixels(film)).square().mean()))
    assert errors == sorted(errors, reverse=True)


def test_the_first_latent_depends_on_the_first_frame_alone():
    film, codec = moving_square(), DctCodec(16)
    changed = film.copy()
    changed[1:] = 0
    first, other = codec.encode(to_pixels(film)), codec.encode(to_pixels(changed))
    assert torch.equal(first[:, :, 0], other[:, :, 0])
    assert torch.equal(codec.encode(to_pixels(film[:1])), first[:, :, :1])


def test_encoding_what_was_decoded_is_stable():
    codec = DctCodec(16)
    latents = codec.encode(to_pixels(moving_square()))
    torch.testing.assert_close(codec.encode(codec.decode(latents)), latents, rtol=0, atol=0.15)


@pytest.mark.parametrize("shape", [(16, 32, 32), (17, 30, 32), (17, 32, 36)])
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, int, int]):
    with pytest.raises(ValueError, match="4k \\+ 1 frames"):
        DctCodec(16).encode(torch.zeros(1, 3, *shape))


def test_unknown_backends_and_channel_counts_are_refused():
    with pytest.raises(ValueError, match="known: dct, wan"):
        build_codec("vae", channels=16)
    with pytest.raises(ValueError, match="1 to 25 channels"):
        build_codec("dct", channels=99)
    with pytest.raises(ValueError, match=r"needs codec\.weights"):
        build_codec("wan", channels=16)


@pytest.mark.filterwarnings("ignore")
def test_the_wan_vae_runs_behind_the_same_protocol(tmp_path: Path):
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[2.0] * 4)
    vae.save_pretrained(tmp_path)
    codec = WanCodec(tmp_path)
    pixels = to_pixels(moving_square(frames=5, side=16))
    latents = codec.encode(pixels)
    assert latents.shape == (1, 4, 2, 2, 2)
    assert torch.equal(latents, (vae.encode(pixels, return_dict=False)[0].mode() - 0.1) / 2)
    assert codec.decode(latents).shape == pixels.shape
    assert codec.fingerprint != DctCodec(4).fingerprint
