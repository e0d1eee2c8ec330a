"""Chain-of-thought sets: a data set and an annotator in, verified reasoning out (`annotation.build`)."""
