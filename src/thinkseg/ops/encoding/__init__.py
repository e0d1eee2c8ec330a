"""Writes video files, frame by frame: `clock` says when frames are shown, `sound` adds the sound of another file."""
