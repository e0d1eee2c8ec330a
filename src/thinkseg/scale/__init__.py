"""Work on many videos, by one worker or by many: what a worker is (`workers`), and workers in processes of Ray."""
