"""The tracker without weights: optical flow, colors, motion against the camera and silhouettes.

All constants were tuned by hand on the val split of the shapes world, whose frames have 224x224 pixels, with
`python benchmarks/flow.py`. A comment such as "J x0.7: -0.2, x1.4: +0.1" states the change of mean J in points if only
this constant is scaled, for true boxes on 8 clips; 0 is a change below 0.005. `python benchmarks/flow_sensitivity.py`
measures it (benchmarks/results/flow-sensitivity.json). Constants without such a comment were not measured.

Objects of these clips are rigid, mostly visible and of clear colors: 0 for a constant of deformation or re-detection
says little about other videos, and motion against the camera is not used at all. Its constants were chosen on real
clips (docs/real.md).
"""
