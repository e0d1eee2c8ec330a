"""The tracker without weights: optical flow, colors and silhouettes."""
