"""Writes b_frames.mp4, which is kept here: 24 frames, each a little brighter than the one before, as H.264 with B-frames.

    python3 make_b_frames.py        needs the program ffmpeg with libx264
"""
import os
import subprocess

import numpy as np

FRAMES, STEP, DARKEST = 24, 8, 30
SIZE = 32


def frames():
    """uint8 [FRAMES, SIZE, SIZE, 3]; a pattern that moves keeps the encoder from making all frames of one."""
    k, y, x = np.mgrid[:FRAMES, :SIZE, :SIZE]
    gray = DARKEST + STEP * k + np.where((x + y + k) % 16 < 8, 6, -6)
    return np.repeat(gray[..., None], 3, -1).astype(np.uint8)


if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))
    command = f"""ffmpeg -v error -y -f rawvideo -pix_fmt rgb24 -s {SIZE}x{SIZE} -r 10 -i - -c:v libx264 -pix_fmt yuv420p
        -bf 3 -b-pyramid strict -b_strategy 0 -sc_threshold 0 -crf 16 -threads 1 -fflags +bitexact -flags:v +bitexact"""
    subprocess.run([*command.split(), os.path.join(folder, "b_frames.mp4")], input=frames().tobytes(), check=True)
