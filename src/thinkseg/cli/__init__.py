"""The command line: `app` as a whole, `options` that commands share, `declare` to make commands of functions."""
