"""One file per public data set, `folder` for your own videos."""
