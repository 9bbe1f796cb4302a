"""Pictures in and out: probing, decoding, encoding, contact sheets, and the process that hostile files are read in.

Import the module you need (`skyreels_platform.media.decode`, ...): each loads PyAV or Pillow, this package alone loads nothing.
"""
